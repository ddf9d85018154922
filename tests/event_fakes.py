"""A shop, a lake and the worker's other ports in memory, for tests of the worker."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from commerce_assets.events.batches import Retries
from commerce_assets.events.books import STATES
from commerce_assets.events.database import open_engine, reading
from commerce_assets.events.decide import Rules
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.intake_rules import object_of
from commerce_assets.events.lanes import WorkerOptions
from commerce_assets.events.ports import FetchedDocuments, Landed, Report, StorefrontUnavailableError
from commerce_assets.events.records import Delivery
from commerce_assets.events.stock.ports import Verdict
from commerce_assets.events.topics import TOPICS
from commerce_assets.events.worker import Worker

SHOP = "fake-shop.myshopify.com"
EPOCH = datetime(2026, 11, 20, tzinfo=UTC)
QUICK = WorkerOptions(
    shop=SHOP,
    retries=Retries(attempts=3, base=timedelta(milliseconds=1), cap=timedelta(milliseconds=5)),
    rules=Rules(waits=(timedelta(milliseconds=1), timedelta(milliseconds=1))),
    reconcile_grace=timedelta(0),
    unavailable_rest=timedelta(milliseconds=1),
    unavailable_cap=timedelta(milliseconds=2),
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker may handle it."""


def moment(second: float) -> str:
    return (EPOCH + timedelta(seconds=second)).isoformat()


def order_body(order_id: int, second: float, **more: Any) -> dict[str, Any]:
    gid = f"gid://shopify/Order/{order_id}"
    return {"id": order_id, "admin_graphql_api_id": gid, "updated_at": moment(second), "total_price": "10.00", **more}


def transaction_body(order_id: int, transaction_id: int, second: float) -> dict[str, Any]:
    return {"id": transaction_id, "order_id": order_id, "kind": "sale", "status": "success", "processed_at": moment(second)}


class FakeLake:
    """Keeps every batch by its id. `hook` is called before a landing and may raise; `after` afterwards."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.batches: dict[str, tuple[str, list[Any]]] = {}
        self.landings = 0
        self.hook: Callable[[str, list[Any]], None] = lambda family, rows: None
        self.after: Callable[[], None] = lambda: None
        self.refused: dict[int, str] = {}
        self.refused_parts: dict[tuple[str, int], str] = {}

    def land_payloads(self, family: str, batch_id: str, lines: Iterable[bytes]) -> Landed:
        lines = list(lines)
        assert not any(b"\n" in line for line in lines)
        return self._keep(family, batch_id, [json.loads(line) for line in lines])

    def land_documents(self, family: str, batch_id: str, files: Sequence[Path]) -> Landed:
        return self._keep(family, batch_id, [json.loads(line) for file in files for line in file.read_text().splitlines()])

    def land_deletions(self, batch_id: str, deletions: Sequence[tuple[str, int, datetime]]) -> Landed:
        return self._keep("deletions", batch_id, [{"deleted": (kind, number)} for kind, number, _ in deletions])

    def folder(self, family: str, batch_id: str) -> Path:
        folder = self.root / family / batch_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _keep(self, family: str, batch_id: str, rows: list[Any]) -> Landed:
        self.hook(family, rows)
        self.landings += 1
        ids = [_number(row) for row in rows]
        self.batches[batch_id] = (family, [row for row, number in zip(rows, ids, strict=True) if number not in self.refused])
        self.after()
        refused = {number: self.refused[number] for number in ids if number in self.refused}
        places = {number: (f"{batch_id}.jsonl", line) for line, number in enumerate(ids, 1)}
        return Landed(batch_id, len(rows) - len(refused), len(refused), (f"events-{batch_id}",), refused, places, self.refused_parts)

    def order(self, order_id: int) -> dict[str, Any] | None:
        """What readers see of an order: of its newest version the one landed last."""
        held: tuple[tuple[datetime, str], Any] | None = None
        for batch_id, (family, rows) in self.batches.items():
            for row in rows if family == "orders" else []:
                if _number(row) == order_id:
                    place = (datetime.fromisoformat(_version(row)), batch_id)
                    held = max(held, (place, row), key=lambda one: one[0]) if held else (place, row)
        return _seen(held[1]) if held else None

    def deleted(self) -> set[tuple[str, int]]:
        return {tuple(row["deleted"]) for family, rows in self.batches.values() if family == "deletions" for row in rows}

    def documents(self, family: str) -> list[int]:
        return [_number(row) for kept, rows in self.batches.values() if kept == family for row in rows]


def _number(row: dict[str, Any]) -> int:
    if "deleted" in row:
        return int(row["deleted"][1])
    return int(str(row["id"]).rpartition("/")[2])


def _version(row: dict[str, Any]) -> str:
    return row["order"]["updated_at"] if "order" in row else row["updatedAt"]


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    """One shape, whichever way an order came."""
    if "order" not in row:
        return {key: row[key] for key in ("version", "transactions", "refunds")}
    refunds = {each["id"] for each in row["order"].get("refunds", [])} | {each["id"] for each in row["refunds"]}
    transactions = {each["id"] for each in row["transactions"]}
    return {"version": row["order"]["updated_at"], "transactions": sorted(transactions), "refunds": sorted(refunds)}


@dataclass
class FakeShop:
    """The storefront's truth, which `fetch` reads. Objects by (type, id); orders with what hangs in them."""

    objects: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    is_down: bool = False
    fetched: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    fault: Callable[[], None] = lambda: None
    broken: frozenset[int] = frozenset()
    """Objects whose reading fails the whole request."""
    meanwhile: Callable[[], None] = lambda: None
    """Called while an answer is on its way."""

    def put(self, object_type: str, object_id: int, second: float, **more: Any) -> None:
        self.objects[(object_type, object_id)] = {"id": object_id, "updated_at": moment(second), **more}

    def fetch(self, object_type: str, ids: Sequence[int], folder: Path) -> FetchedDocuments:
        if self.is_down or self.broken & set(ids):
            raise StorefrontUnavailableError("down")
        self.fault()
        self.fetched.append((object_type, tuple(ids)))
        found = {number: self.objects[(object_type, number)] for number in ids if (object_type, number) in self.objects}
        place = folder / "documents.jsonl"
        place.write_text("".join(json.dumps(_document(object_type, one)) + "\n" for one in found.values()))
        transactions = {
            number: [json.dumps(transaction_body(number, each, 0)).encode() for each in one.get("transactions", ())]
            for number, one in found.items()
            if object_type == "Order"
        }
        versions = {number: datetime.fromisoformat(one["updated_at"]) for number, one in found.items()}
        self.meanwhile()
        return FetchedDocuments(
            files=(place,),
            versions=versions,
            missing=frozenset(ids) - found.keys(),
            transactions=transactions,
        )

    def changed_since(self, object_type: str, since: datetime, limit: int) -> list[tuple[int, datetime]]:
        if self.is_down:
            raise StorefrontUnavailableError("down")
        changed = [
            (number, datetime.fromisoformat(one["updated_at"])) for (kind, number), one in self.objects.items() if kind == object_type
        ]
        return sorted(((number, at) for number, at in changed if at >= since), key=lambda one: one[1])[:limit]


def _document(object_type: str, one: dict[str, Any]) -> dict[str, Any]:
    extra = {"transactions": sorted(one.get("transactions", ())), "refunds": sorted(one.get("refunds", ()))}
    gid = f"gid://shopify/{object_type}/{one['id']}"
    return {"id": gid, "updatedAt": one["updated_at"], "version": one["updated_at"], **(extra if object_type == "Order" else {})}


class FakeStock:
    """Books of stock that count what they were given; facts say themselves what becomes of them."""

    def __init__(self) -> None:
        self.orders: list[int] = []
        self.dropped: list[int] = []
        self.levels: list[int] = []
        self.facts: list[str] = []

    def take_facts(self, connection: sa.Connection, bodies: Sequence[bytes]) -> list[Verdict]:
        facts = [json.loads(body) for body in bodies]
        if any(fact.get("breaks") for fact in facts):
            raise ValueError("a fact that breaks the books")
        self.facts += [fact["key"] for fact in facts]
        return [Verdict(fact.get("outcome", "applied")) for fact in facts]

    def take_orders(self, connection: sa.Connection, bodies: Sequence[bytes]) -> None:
        self.orders += [json.loads(body)["id"] for body in bodies]

    def drop_orders(self, connection: sa.Connection, deletions: Mapping[int, datetime]) -> None:
        self.dropped += deletions

    def observe_levels(self, connection: sa.Connection, bodies: Sequence[bytes], triggered: Sequence[datetime | None]) -> None:
        self.levels += [json.loads(body)["inventory_item_id"] for body in bodies]


class FakeReporter:
    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.is_down = False

    def report(self, reports: Sequence[Report]) -> None:
        if self.is_down:
            raise ConnectionError("Dagster is away")
        self.reports += reports


class Office:
    """A worker with everything around it. `restart` is a new process: same databases, same lake."""

    def __init__(self, folder: Path, options: WorkerOptions = QUICK, url: str | None = None) -> None:
        self.folder, self.options = folder, options
        self.inbox = Inbox(url or f"sqlite:///{folder / 'inbox.sqlite'}")
        self.engine = open_engine(url or f"sqlite:///{folder / 'events.sqlite'}")
        self.lake, self.shop, self.stock, self.reporter = FakeLake(folder / "lake"), FakeShop(), FakeStock(), FakeReporter()
        self.folded: list[str] = []
        self.number = 0
        self.worker = self._worker()

    def _worker(self) -> Worker:
        return Worker(self.inbox, self.engine, self.lake, self.shop, self.options, stock=self.stock, folding=self, reporter=self.reporter)

    def fold(self, family: str) -> None:
        self.folded.append(family)

    def restart(self) -> None:
        self.worker = self._worker()

    def close(self) -> None:
        self.inbox.close()
        self.engine.dispose()

    def send(self, topic: str, body: dict[str, Any] | bytes, second: float | None = None, webhook_id: str | None = None) -> int:
        """Put an event into the inbox; its number. `second`: when it was triggered, by the shop's clock."""
        self.number += 1
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        object_type, object_id = object_of(TOPICS[topic], raw)
        delivery = Delivery(
            source="webhook",
            webhook_id=webhook_id or f"w{self.number}",
            topic=topic,
            shop=SHOP,
            body=raw,
            received_at=datetime.now(UTC),
            triggered_at=datetime.now(UTC) if second is None else EPOCH + timedelta(seconds=second),
            object_type=object_type,
            object_id=object_id,
        )
        self.inbox.append([delivery])
        return self.inbox.last_seq()

    def drain(self, timeout_seconds: float = 30) -> None:
        self.worker.drain(timeout_seconds)

    def states(self) -> dict[int, str]:
        with reading(self.engine) as connection:
            return {row.seq: row.state for row in connection.execute(sa.select(STATES.c.seq, STATES.c.state))}

    def row(self, seq: int) -> sa.Row[Any]:
        with reading(self.engine) as connection:
            return connection.execute(sa.select(STATES).where(STATES.c.seq == seq)).one()
