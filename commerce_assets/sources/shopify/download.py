"""A result file to disk: newline-aligned parts, resumed where the connection was cut, visible only when whole.

Parts are written as `<name>-00000.jsonl.tmp` and get their names when every byte has arrived; whoever starts again starts from nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from commerce_assets.sources.shopify.client import Meter, ShopifyClient
from commerce_assets.sources.shopify.errors import DownloadError, ExpiredUrlError, TruncatedDownloadError
from commerce_assets.sources.shopify.retry import retry_after_seconds

PART_BYTES = 64 * 1024 * 1024
MAX_FRESH_URLS = 3
_EXPIRED = {400, 401, 403, 404, 410}
"""What storage hosts answer to an address that is past its time."""

_ESCAPED_ADDS = ((b"/", 1), (b"&", 5), (b"<", 5), (b">", 5), (b"\xe2\x80\xa8", 3), (b"\xe2\x80\xa9", 3))
"""Bytes that Shopify's JSON writer adds by escaping (`\\/`, `\\u0026`, …)."""
_SCAN_BYTES = 8 * 1024 * 1024

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Written:
    """Files that are complete, and what is in them."""

    files: tuple[Path, ...]
    bytes: int
    lines: int


class PartWriter:
    """Bytes in, newline-aligned files of about `part_bytes` out. Leaving it on an exception removes what was written."""

    def __init__(self, folder: Path, name: str, part_bytes: int = PART_BYTES) -> None:
        self._folder, self._name, self._part_bytes = folder, name, part_bytes
        self._parts: list[Path] = []
        self._file: IO[bytes] | None = None
        self._size = 0
        self._newlines = 0
        self._last = b"\n"
        self.bytes = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_parts(self._folder, self._name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None or self._parts:
            self.reset()

    def write(self, chunk: bytes) -> None:
        """Append bytes; a new part begins after the last newline that fits."""
        self.bytes += len(chunk)
        self._newlines += chunk.count(b"\n")
        self._last = chunk[-1:] or self._last
        while chunk:
            room = self._part_bytes - self._size
            cut = len(chunk) if len(chunk) <= room else self._cut(chunk, room)
            self._append(chunk[:cut])
            if cut < len(chunk) or (self._size >= self._part_bytes and chunk.endswith(b"\n")):
                self._close()
            chunk = chunk[cut:]

    def reset(self) -> None:
        """Forget everything written so far."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for part in self._parts:
            part.unlink(missing_ok=True)
        self._parts, self._size, self._newlines, self._last, self.bytes = [], 0, 0, b"\n", 0

    def commit(self) -> Written:
        """Everything is there: give the parts their names."""
        if self._file is not None:
            self._close()
        files = tuple(part.with_suffix("") for part in self._parts)
        for part, file in zip(self._parts, files, strict=True):
            part.rename(file)
        self._parts = []
        return Written(files, self.bytes, self._newlines + (self._last != b"\n"))

    def escaped_bytes(self) -> int:
        """The size of what was written when slashes, &, < and > are escaped as Shopify's own JSON writer does."""
        if self._file is not None:
            self._file.flush()
        size, last = self.bytes, b""
        for part in self._parts:
            with part.open("rb") as file:
                while chunk := file.read(_SCAN_BYTES):
                    size += sum(chunk.count(plain) * added for plain, added in _ESCAPED_ADDS)
                    size -= (last + chunk).count(b"\\/")  # these are escaped already
                    last = chunk[-1:]
        return size

    def _cut(self, chunk: bytes, room: int) -> int:
        """Where to end this part: after the last newline within `room`, else after the next one, else not in this chunk."""
        within = chunk.rfind(b"\n", 0, max(room, 0))
        if within >= 0:
            return within + 1
        beyond = chunk.find(b"\n", max(room, 0))
        return beyond + 1 if beyond >= 0 else len(chunk)

    def _append(self, piece: bytes) -> None:
        if self._file is None:
            part = self._folder / f"{self._name}-{len(self._parts):05d}.jsonl.tmp"
            self._file = part.open("wb")
            self._parts.append(part)
            self._size = 0
        self._file.write(piece)
        self._size += len(piece)

    def _close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._file = None
        self._size = 0


def remove_parts(folder: Path, name: str) -> None:
    """Remove what an earlier attempt left under this name, complete or not."""
    pattern = re.compile(re.escape(name) + r"-\d{5,}\.jsonl(\.tmp)?")
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink()


def download(
    client: ShopifyClient,
    url: str,
    folder: Path,
    name: str,
    *,
    expected_bytes: int | None,
    fresh_url: Callable[[], str | None],
    label: str,
    progress: Progress,
    part_bytes: int = PART_BYTES,
    meter: Meter | None = None,
) -> Written:
    """Stream `url` into parts; `fresh_url` is asked for a new address when this one has expired."""
    with PartWriter(folder, name, part_bytes) as writer:
        _Download(client, url, writer, expected_bytes, fresh_url, label, progress, meter).run()
        return writer.commit()


class _Download:
    """The state of one download over its connections."""

    def __init__(
        self,
        client: ShopifyClient,
        url: str,
        writer: PartWriter,
        expected_bytes: int | None,
        fresh_url: Callable[[], str | None],
        label: str,
        progress: Progress,
        meter: Meter | None,
    ) -> None:
        self.client, self.url, self.writer, self.expected, self.fresh_url = client, url, writer, expected_bytes, fresh_url
        self.label, self.progress, self.meter = label, progress, meter
        self.failures = 0
        self.fresh_urls = 0
        self.etag: str | None = None
        self.announced = 0

    def run(self) -> None:
        while not self._is_whole_after_one_connection():
            pass
        if not self._has_expected_size():
            raise TruncatedDownloadError(self._truncated())

    def _has_expected_size(self) -> bool:
        """Whether as many bytes are here as the shop says; of recorded results it counted the escaped form."""
        return self.expected is None or self.writer.bytes == self.expected or self.writer.escaped_bytes() == self.expected

    def _is_whole_after_one_connection(self) -> bool:
        before = self.writer.bytes
        try:
            is_whole = self._connect()
        except httpx.TransportError as error:
            if self.writer.bytes > before:
                self.failures = 0
            self._failed(f"the connection was cut after {self.writer.bytes:,} bytes ({type(error).__name__})")
            return False
        if not is_whole or self.expected is None or self.writer.bytes >= self.expected or self._has_expected_size():
            return is_whole
        if self.writer.bytes > before:
            self.failures = 0
        self._failed(self._truncated())
        return False

    def _connect(self) -> bool:
        """One connection: True when the server said that this was all, False to try again (the wait is over then)."""
        have = self.writer.bytes
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.etag:
                headers["If-Range"] = self.etag
        if self.meter:
            self.meter.add(requests=1)
        with self.client.http.stream("GET", self.url, headers=headers) as answer:
            status = answer.status_code
            if status in _EXPIRED:
                self._renew_url(status)
                return False
            if status == 416:
                return self._past_the_end()
            if status == 429 or status >= 500:
                self._failed(f"HTTP {status}", retry_after_seconds(answer.headers.get("Retry-After")))
                return False
            if status not in (200, 206):
                raise DownloadError(f"{self.client.shop}: {self.label}: HTTP {status} for the result file; run again")
            self._receive(answer, have)
            return True

    def _receive(self, answer: httpx.Response, have: int) -> None:
        skip = 0
        etag = answer.headers.get("ETag")
        if answer.status_code == 206:
            start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
            if start is None or int(start.group(1)) != have:
                raise DownloadError(f"{self.client.shop}: {self.label}: the storage host resumed at the wrong byte; run again")
        elif have and self.etag and etag == self.etag:
            skip = have  # the host cannot resume: pass over what is here already
        elif have:
            self.writer.reset()
        self.etag = etag if etag and not etag.startswith("W/") else None
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(
                f"{self.client.shop}: {self.label}: the storage host compresses although asked not to; check for a proxy in between"
            )
        for chunk in answer.iter_raw():  # as received: what a larger chunk had gathered would be lost with a cut connection
            if skip:
                passed = min(skip, len(chunk))
                skip -= passed
                chunk = chunk[passed:]
            if chunk:
                self.writer.write(chunk)
                self._announce()

    def _past_the_end(self) -> bool:
        """416: there are no further bytes. Either everything is here, or the file is shorter than was said."""
        if not self._has_expected_size():
            raise TruncatedDownloadError(self._truncated())
        return True

    def _renew_url(self, status: int) -> None:
        self.fresh_urls += 1
        problem = f"{self.client.shop}: {self.label}: the address of the result was refused (HTTP {status})"
        if self.fresh_urls > MAX_FRESH_URLS:
            raise ExpiredUrlError(f"{problem}, and so were {MAX_FRESH_URLS} fresh ones; run again to ask for the data anew")
        url = self.fresh_url()
        if not url:
            raise ExpiredUrlError(f"{problem}, and the shop has no other (results are kept for 7 days); run again to ask for the data anew")
        self.progress(f"{self.label}: the address of the result has expired; asked for a fresh one")
        if self.fresh_urls > 1:
            self.client.pause(self.client.retry.wait_seconds(self.fresh_urls))
        self.url = url

    def _failed(self, problem: str, wait: float | None = None) -> None:
        self.failures += 1
        if self.failures >= self.client.retry.attempts:
            if self.expected is not None and 0 < self.writer.bytes != self.expected:
                raise TruncatedDownloadError(self._truncated()) from None
            raise DownloadError(
                f"{self.client.shop}: {self.label}: no progress in {self.failures} attempts at the result file ({problem}); check the network and run again"
            ) from None
        self.progress(f"{self.label}: {problem}; going on from there")
        self.client.pause(wait if wait is not None else self.client.retry.wait_seconds(self.failures))

    def _truncated(self) -> str:
        return (
            f"{self.client.shop}: {self.label}: {self.writer.bytes:,} bytes arrived of a result of {self.expected or 0:,} bytes; "
            "nothing of it is used: run again"
        )

    def _announce(self) -> None:
        if self.writer.bytes - self.announced >= PART_BYTES:
            self.announced = self.writer.bytes
            total = f" of {self.expected / 1e6:,.0f}" if self.expected else ""
            self.progress(f"{self.label}: {self.writer.bytes / 1e6:,.0f}{total} MB downloaded")
