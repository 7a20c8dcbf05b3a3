"""What moves bytes between sockets and files: one worker put together."""
