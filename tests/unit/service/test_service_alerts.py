"""Alerts: told where an address is set, harmless where nobody takes them, and never with the address in a message."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from commerce_assets.config import load_settings
from commerce_assets.service.alerts import alert


@pytest.fixture
def listener() -> Iterator[tuple[str, list[dict[str, str]], list[int]]]:
    """An address, what was told there, and the statuses it answers with, one after the other."""
    told: list[dict[str, str]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/token", told, statuses
    server.shutdown()
    server.server_close()


def test_an_alert_is_told(
    data_root: object, monkeypatch: pytest.MonkeyPatch, listener: tuple[str, list[dict[str, str]], list[int]]
) -> None:
    address, told, statuses = listener
    monkeypatch.setenv("COMMERCE_ALERT_URL", address)
    assert alert(load_settings(), "push of loyalty stopped (max_rows)")
    assert told == [{"text": "push of loyalty stopped (max_rows)"}]
    statuses.append(500)
    assert not alert(load_settings(), "again")


def test_without_an_address_or_a_listener_nothing_breaks_and_no_secret_is_logged(
    data_root: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert not alert(load_settings(), "nobody")
    monkeypatch.setenv("COMMERCE_ALERT_URL", "http://127.0.0.1:9/hooks/token")
    with caplog.at_level(logging.WARNING):
        assert not alert(load_settings(), "push of loyalty stopped")
    assert "push of loyalty stopped" in caplog.text
    assert "/hooks/token" not in caplog.text
    assert "/hooks/token" not in repr(load_settings())
