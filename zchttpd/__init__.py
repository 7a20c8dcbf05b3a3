"""A static file server on io_uring that sends file bytes without copying them."""

__version__ = "0.1.0"
