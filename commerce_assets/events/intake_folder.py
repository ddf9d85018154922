"""A folder of JSON lines as a way in: replayed traffic, exports of another system, what a dead receiver's proxy wrote down.

Belongs here: finding files, reading lines, putting files away. Does not belong here: what a delivery must be (intake_rules.py).

A line is `{"headers": {"X-Shopify-Topic": …, "X-Shopify-Shop-Domain": …, "X-Shopify-Webhook-Id": …}, "body": …}`; `body` is the payload as
JSON, or the raw text as a string. A line without headers that is a warehouse's stock fact, or `{"facts": [...]}`, is taken as
`POST /inventory/wms` takes it. Nothing is signed here: who may write into the folder is trusted. Without a webhook id the line's
own hash stands in, so that a file taken twice does nothing the second time. Write a file elsewhere and rename it in; a file that is taken
is moved to `done/`, lines that were refused lie beside it in `<name>.refused`.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import orjson

from commerce_assets.events.inbox import Inbox, Rejection
from commerce_assets.events.intake_json import members
from commerce_assets.events.intake_pace import FetchError, Pace
from commerce_assets.events.intake_rules import SHOP, TOPIC, IntakeRules, RefusedError, rejection
from commerce_assets.events.records import Delivery

STOCK_TOPIC = "wms/stock"
LINES_A_GROUP = 500
GROUP_BYTES = 16 * 2**20
LINE_BYTES = 16_000_000
LOOK_EVERY_SECONDS = 1.0
SETTLED_SECONDS = 1.0
_STOCK_KEYS = frozenset({"facts", "kind"})
_log = logging.getLogger(__name__)


class FolderIntake:
    """Takes the folder's `*.jsonl` files into the inbox, in the order of their names."""

    name = "folder"

    def __init__(self, inbox: Inbox, rules: IntakeRules, folder: Path, pace: Pace | None = None) -> None:
        self._inbox = inbox
        self._rules = replace(rules, topics={*rules.topics, STOCK_TOPIC})
        self._folder = folder
        self._pace = pace or Pace()

    def run(self, stop: threading.Event) -> None:
        """Take files until told to stop."""
        while not stop.is_set():
            self._pace.attempt(self.name, self.take_files, stop)
            stop.wait(LOOK_EVERY_SECONDS)

    def take_files(self, stop: threading.Event | None = None) -> int:
        """Take what is there now; how many lines were new. A file that is still being written to is left for later."""
        taken = 0
        try:
            for path in sorted(self._folder.glob("*.jsonl")):
                with suppress(FileNotFoundError):  # another process took it
                    if time.time() - path.stat().st_mtime >= SETTLED_SECONDS:
                        taken += self._take_file(path, stop or threading.Event())
        except OSError as error:
            raise FetchError(
                f"the folder of events cannot be used ({error.strerror}); check COMMERCE_EVENTS_FOLDER and its rights"
            ) from None
        return taken

    def _take_file(self, path: Path, stop: threading.Event) -> int:
        """A file that is not taken to its end stays, and is taken from its start the next time."""
        taken, done = 0, self._folder / "done"
        done.mkdir(exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{path.name}"
        with path.open("rb") as lines, TemporaryFile(dir=done) as refused_lines:
            for group in _groups(lines):
                self._pace.wait_for_room(stop)
                if stop.is_set():
                    return taken
                taken += self._take_lines(group, refused_lines)
            if refused_lines.tell():
                refused_lines.seek(0)
                with (done / f"{name}.refused").open("wb") as refused:
                    shutil.copyfileobj(refused_lines, refused)
        path.rename(done / name)
        _log.info("took %d new events from %s", taken, path.name)
        return taken

    def _take_lines(self, lines: list[bytes], refused: IO[bytes]) -> int:
        deliveries: list[Delivery] = []
        rejections: list[Rejection] = []
        received_at = datetime.now(UTC)
        for line in lines:
            try:
                headers, body = self._parsed(line)
            except ValueError:
                headers, body = {}, None
            try:
                if body is None:
                    raise RefusedError(400, "not_a_delivery", "the line is no delivery")
                line_id = f"folder:{sha256(line).hexdigest()[:40]}"
                deliveries.append(self._rules.delivery("folder", headers, body, received_at, line_id))
            except RefusedError as error:
                rejections.append(rejection("folder", headers, error.reason, received_at))
                refused.write(line + b"\n")
        return sum(self._inbox.append(deliveries, rejections))

    def _parsed(self, line: bytes) -> tuple[dict[str, str], bytes | None]:
        """(headers in lower case, body)."""
        parts = members(line.decode())
        if "headers" not in parts and not _STOCK_KEYS.isdisjoint(parts):
            return {TOPIC: STOCK_TOPIC, SHOP: self._rules.shop}, line
        headers = orjson.loads(parts.get("headers", "{}"))
        if not isinstance(headers, dict) or "body" not in parts:
            return {}, None
        text = parts["body"]
        body = orjson.loads(text).encode() if text.startswith('"') else text.encode()
        return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}, body


def _groups(lines: IO[bytes]) -> Iterator[list[bytes]]:
    """Lines that are not empty, some at a time. A line longer than any delivery comes in pieces, which are then refused."""
    group: list[bytes] = []
    size = 0
    while line := lines.readline(LINE_BYTES):
        if line.strip():
            group.append(line.rstrip(b"\r\n"))
            size += len(line)
        if len(group) >= LINES_A_GROUP or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
