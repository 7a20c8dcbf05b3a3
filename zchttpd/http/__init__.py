"""What HTTP says of bytes and numbers: pure functions that know the standard library, h11 and each other."""
