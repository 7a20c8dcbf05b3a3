"""A static file server on io_uring that sends file bytes without copying them, and tells the truth of it."""

__version__ = "0.1.0"
