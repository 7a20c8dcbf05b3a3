"""Granian serves the files by itself; the application behind them is never asked."""


def app(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return [b""]
