"""As `python -m http.server` does, with what its documentation leaves to a subclass: HTTP/1.1, no log line
for each request, and no delay between head and body.
"""

import http.server


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *arguments):
        super().__init__(*arguments, directory="{{ root }}")

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 4096


Server(("{{ host }}", int("{{ port }}")), Handler).serve_forever()
