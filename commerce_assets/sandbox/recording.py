"""Recorded webhooks: traffic rehearsed in a store without a server, every delivery written to a file.

Belongs here: making such a file and reading it. Does not belong here: sending it (`replay.py`). A file serves where a test
needs the webhooks of thousands of orders a minute and the machine cannot make them while it receives them; the store that
was rehearsed in says how everything should end.

A line is one delivery: `topic`, `object` (gid), `webhook_id`, `event_id`, `triggered_at`, `api_version`, `shop_domain`, `body`
(the very text). A name that ends in `.gz` is compressed. The same store, seed and moment give the same file.
"""

from __future__ import annotations

import gzip
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import orjson

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.schema import answer
from commerce_assets.sandbox.store import Store, Touched
from commerce_assets.sandbox.traffic import API_VERSION, query_text, rehearse
from commerce_assets.sandbox.traffic_plan import Shares, TrafficError
from commerce_assets.sandbox.webhooks.changes import TOLD, changes_in, nanoseconds_text
from commerce_assets.sandbox.webhooks.payloads import ORDER_TOPICS, render

NAMES = uuid.UUID("0f4b7a4e-6a35-5d0a-9a39-3f1d9a0a6c55")
COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recorded delivery."""

    topic: str
    object: str
    webhook_id: str
    event_id: str
    triggered_at: str
    api_version: str
    shop_domain: str
    body: str


@dataclass(frozen=True)
class Recording:
    """What was recorded."""

    done: dict[str, int]
    deliveries: int
    topics: dict[str, int]
    minutes: float
    """From the first to the last delivery, as recorded."""


def record_traffic(
    store_dir: Path | str,
    path: Path | str,
    orders: int,
    orders_per_minute: float = 10_000,
    seed: int = 1,
    shares: Shares | None = None,
    topics: Collection[str] | None = None,
    starts_at: datetime | None = None,
) -> Recording:
    """Rehearse `orders` in the store (which keeps them) and write all deliveries of `topics` (None: all) to `path`.

    `starts_at` is when the first order is placed; default as long ago as the traffic lasts. `TrafficError` where the store is
    empty, or served by somebody at the same time.
    """
    begin = starts_at or datetime.now(UTC) - timedelta(minutes=orders / orders_per_minute)
    store = Store(store_dir)
    try:
        if store.shop() is None:
            raise TrafficError(f"the store in {store_dir} is empty: fill it with `commerce sandbox fill` first")
        with _opened(Path(path), "wb") as file:
            tape = _Tape(file, begin, None if topics is None else frozenset(topics), seed)
            store.watcher = tape
            done = rehearse(_asking(store, tape), shares or Shares(), orders, 60 / orders_per_minute, seed, tape.move_to)
    finally:
        store.close()
    return Recording(done, sum(tape.topics.values()), dict(sorted(tape.topics.items())), tape.seconds / 60)


def recorded(path: Path | str) -> Iterator[Delivery]:
    """The deliveries of a file, in the order in which they were triggered."""
    with _opened(Path(path), "rb") as file:
        for line in file:
            yield Delivery(**orjson.loads(line))


def _opened(path: Path, mode: str) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, mode, COMPRESSION) if "w" in mode else gzip.open(path, mode))
    return cast(IO[bytes], path.open(mode))


def _asking(store: Store, tape: _Tape) -> Callable[..., dict[str, Any]]:
    """What answers the buyers' queries: the store's own API, without a server."""

    def ask(query: str, variables: dict[str, Any] | None = None, **_: bool) -> dict[str, Any]:
        context = Context(store, store.shop() or {}, API_VERSION, ALL_SCOPES, clock=tape.clock)
        body = answer(context, query_text(query), variables or {})
        if body.get("errors"):
            raise TrafficError(f"{query}: {body['errors'][0]['message']}")
        found: dict[str, Any] = body["data"]
        return found

    return ask


class _Tape:
    """Watches the store (`Store.watcher`) and writes down what its subscribers would be told."""

    kinds = frozenset(TOLD)

    def __init__(self, file: IO[bytes], begin: datetime, wanted: frozenset[str] | None, seed: int) -> None:
        self._file, self._begin, self._wanted, self._seed = file, begin, wanted, seed
        self.topics: Counter[str] = Counter()
        self.seconds = 0.0
        self._events = 0
        self._last = 0

    def clock(self) -> datetime:
        """The present moment of the rehearsal."""
        return self._begin + timedelta(seconds=self.seconds)

    def move_to(self, seconds: float) -> None:
        """The rehearsal is so many seconds past its begin."""
        self.seconds = seconds

    def changed(self, store: Store, touched: Touched) -> Callable[[], None] | None:
        """Write down the deliveries of a transaction when it is committed."""
        found = [change for change in changes_in(store, touched) if self._wanted is None or change.topic in self._wanted]
        if not found:
            return None
        shop = store.shop() or {}
        self._events += 1
        event_id = str(uuid.uuid5(NAMES, f"{self._seed}:{self._events}"))
        lines = []
        bodies: dict[tuple[str, str], str] = {}
        for number, change in enumerate(found):
            # Later deliveries carry later times.
            self._last = max(int(self.clock().timestamp() * 1_000_000_000), self._last + 1)
            # The topics of an order have one body in common.
            about = "orders" if change.topic in ORDER_TOPICS else change.topic, change.object
            if about not in bodies:
                bodies[about] = orjson.dumps(render(store, shop, change.topic, change.before, change.after, change.extra)).decode()
            line = {
                "topic": change.topic,
                "object": change.object,
                "webhook_id": str(uuid.uuid5(NAMES, f"{self._seed}:{self._events}:{number}")),
                "event_id": event_id,
                "triggered_at": nanoseconds_text(self._last),
                "api_version": API_VERSION,
                "shop_domain": shop.get("myshopifyDomain"),
                "body": bodies[about],
            }
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self.topics.update(change.topic for change in found)
        return lambda: self._file.writelines(lines)
