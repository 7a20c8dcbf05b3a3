"""What moves bytes between sockets and files, and the desk that tells each of them what to answer."""
