"""A small HTTP server for tests that takes webhooks and answers what it is told to answer."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes
    connection: int
    """The client's port: the same for what came over one connection."""

    @property
    def webhook_id(self) -> str:
        return self.headers["x-shopify-webhook-id"]

    @property
    def topic(self) -> str:
        return self.headers["x-shopify-topic"]


class Listener:
    """Answers each delivery with `answer(received)`: a status, 0 to close the connection without one."""

    def __init__(self, answer: Callable[[Received], int] = lambda _: 200) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.closes_after_each = False
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(headers, body, self.client_address[1])
                listener.received.append(received)
                status = listener.answer(received)
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
                # Without a word in the answer, as a receiver does whose idle connections run out.
                self.close_connection = self.close_connection or listener.closes_after_each

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/webhooks/shopify"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # As many as a sender opens at once; more would have to knock again a second later.
    request_queue_size = 128
