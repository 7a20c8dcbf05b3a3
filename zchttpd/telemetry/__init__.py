"""What is counted and written down: the log, shared counters, metrics, the access log."""
