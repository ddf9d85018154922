"""Where the sandbox keeps its documents: one SQLite file, read by many threads, written by one at a time.

`documents.py` says what a document looks like. Every type with a table of its own has search columns beside the JSON;
what lives inside another document (variants, line items, refunds, …) has an index table pointing to its parent.
Write-ahead logging makes a store that was killed mid-write open with the last committed state.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Protocol

import orjson

from commerce_assets.sandbox.documents import Doc, InventoryLevel, Metafield, gid, gid_number, parse_gid

STORE_FILE = "store.sqlite"
BATCH = 500
CHECKPOINT_PAGES = 8_000
# Changes with the tables: a store of another layout is refused instead of being misread. Layout 2 only added tables (webhooks),
# so a store of layout 1 gets them when it is opened.
LAYOUT = 2
EXTENDABLE = (0, 1, LAYOUT)
# A shop's ids grow by shards in steps of 2^15; where a type's ids start is only for looks.
ID_STEP = 32768
ID_START = {
    "Customer": 7_100_000_000_001,
    "Order": 5_600_000_000_001,
    "LineItem": 14_200_000_000_001,
    "Product": 8_300_000_000_001,
    "ProductVariant": 45_000_000_000_001,
    "InventoryItem": 47_000_000_000_001,
    "Location": 72_000_000_001,
    "OrderTransaction": 6_900_000_000_001,
    "Refund": 930_000_000_001,
    "Fulfillment": 5_100_000_000_001,
    "Metafield": 31_000_000_000_001,
    "BulkOperation": 4_900_000_000_001,
    "Segment": 480_000_000_001,
    "WebhookSubscription": 1_960_000_000_001,
}
DEFAULT_ID_START = 1_200_000_000_001


class StoreError(Exception):
    """The store cannot do what was asked; the message says which document and why."""


@dataclass(frozen=True)
class _Table:
    """Search columns of a type: SQL declaration and how to read the value from the document (and its parent's)."""

    columns: dict[str, tuple[str, Callable[[Doc], Any]]]
    indexes: tuple[str, ...] = ()
    parent: str | None = None
    children: Callable[[Doc], Iterable[Doc]] = field(default=lambda _: ())


def _at(*path: str) -> Callable[[Doc], Any]:
    def read(doc: Doc) -> Any:
        value: Any = doc
        for name in path:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value if value is None or isinstance(value, (str, int, float)) else None

    return read


def _ref_number(name: str) -> Callable[[Doc], int | None]:
    def read(doc: Doc) -> int | None:
        target = doc.get(name)
        with suppress(ValueError, TypeError, KeyError):
            return gid_number(target["id"]) if target else None
        return None

    return read


def _amount(name: str) -> Callable[[Doc], float | None]:
    def read(doc: Doc) -> float | None:
        value = doc.get(name)
        if isinstance(value, dict):
            value = value.get("shopMoney", value)
            value = value.get("amount") if isinstance(value, dict) else value
        with suppress(InvalidOperation, TypeError, ValueError):
            return float(Decimal(str(value))) if value is not None else 0.0
        return None

    return read


def _flag(name: str) -> Callable[[Doc], int]:
    return lambda doc: int(bool(doc.get(name)))


def _order_status(doc: Doc) -> str:
    if doc.get("cancelledAt"):
        return "cancelled"
    return "closed" if doc.get("closedAt") else "open"


def _default_country(doc: Doc) -> Any:
    addresses = doc.get("addressesV2") or [{}]
    return addresses[0].get("countryCodeV2")


TEXT = "TEXT COLLATE NOCASE"
_TIMES: dict[str, tuple[str, Callable[[Doc], Any]]] = {"created_at": ("TEXT", _at("createdAt")), "updated_at": ("TEXT", _at("updatedAt"))}

TABLES: dict[str, _Table] = {
    "Order": _Table(
        {
            **_TIMES,
            "processed_at": ("TEXT", _at("processedAt")),
            "cancelled_at": ("TEXT", _at("cancelledAt")),
            "closed_at": ("TEXT", _at("closedAt")),
            "name": (TEXT, _at("name")),
            "email": (TEXT, _at("email")),
            "customer_id": ("INTEGER", _ref_number("customer")),
            "status": (TEXT, _order_status),
            "financial_status": (TEXT, _at("displayFinancialStatus")),
            "fulfillment_status": (TEXT, _at("displayFulfillmentStatus")),
            "is_test": ("INTEGER", _flag("test")),
            "source_name": (TEXT, _at("sourceName")),
            "currency_code": (TEXT, _at("currencyCode")),
            "total": ("REAL", _amount("totalPriceSet")),
            "current_total": ("REAL", _amount("currentTotalPriceSet")),
        },
        ("updated_at", "created_at", "processed_at", "customer_id", "name"),
    ),
    "Customer": _Table(
        {
            **_TIMES,
            "email": (TEXT, _at("defaultEmailAddress", "emailAddress")),
            "phone": (TEXT, _at("defaultPhoneNumber", "phoneNumber")),
            "first_name": (TEXT, _at("firstName")),
            "last_name": (TEXT, _at("lastName")),
            "state": (TEXT, _at("state")),
            "country": (TEXT, _default_country),
        },
        ("updated_at", "created_at", "email"),
    ),
    "Product": _Table(
        {
            **_TIMES,
            "published_at": ("TEXT", _at("publishedAt")),
            "title": (TEXT, _at("title")),
            "handle": (TEXT, _at("handle")),
            "vendor": (TEXT, _at("vendor")),
            "product_type": (TEXT, _at("productType")),
            "status": (TEXT, _at("status")),
            "is_gift_card": ("INTEGER", _flag("isGiftCard")),
        },
        ("updated_at", "created_at", "handle"),
    ),
    "Location": _Table({**_TIMES, "name": (TEXT, _at("name")), "is_active": ("INTEGER", _flag("isActive"))}),
    "Segment": _Table(
        {
            "created_at": ("TEXT", _at("creationDate")),
            "updated_at": ("TEXT", _at("lastEditDate")),
            "name": (TEXT, _at("name")),
        }
    ),
    "MetafieldDefinition": _Table(
        {
            "owner_type": (TEXT, _at("ownerType")),
            "namespace": ("TEXT", _at("namespace")),
            "key": ("TEXT", _at("key")),
            "name": (TEXT, _at("name")),
        }
    ),
    "BulkOperation": _Table(
        {
            "created_at": ("TEXT", _at("createdAt")),
            "completed_at": ("TEXT", _at("completedAt")),
            "status": (TEXT, _at("status")),
            "operation_type": (TEXT, _at("type")),
        }
    ),
    "WebhookSubscription": _Table(
        {**_TIMES, "topic": (TEXT, _at("topic")), "uri": ("TEXT", _at("uri")), "format": (TEXT, _at("format"))}, ("created_at",)
    ),
    "ProductVariant": _Table(
        {
            **_TIMES,
            "item_id": ("INTEGER", _ref_number("inventoryItem")),
            "position": ("INTEGER", _at("position")),
            "sku": (TEXT, _at("sku")),
            "barcode": (TEXT, _at("barcode")),
            "title": (TEXT, _at("title")),
        },
        ("sku", "parent_id", "item_id"),
        "Product",
        lambda product: product.get("variants") or (),
    ),
    "InventoryItem": _Table(
        {**_TIMES, "sku": (TEXT, _at("sku")), "tracked": ("INTEGER", _flag("tracked"))},
        ("sku", "parent_id"),
        "Product",
        lambda product: [variant["inventoryItem"] for variant in product.get("variants") or () if variant.get("inventoryItem")],
    ),
    "LineItem": _Table({"sku": (TEXT, _at("sku"))}, ("parent_id", "sku"), "Order", lambda order: order.get("lineItems") or ()),
    "Refund": _Table(_TIMES, ("parent_id",), "Order", lambda order: order.get("refunds") or ()),
    "Fulfillment": _Table(_TIMES, ("parent_id",), "Order", lambda order: order.get("fulfillments") or ()),
    "OrderTransaction": _Table(
        {"created_at": ("TEXT", _at("createdAt"))}, ("parent_id",), "Order", lambda order: order.get("transactions") or ()
    ),
}
DERIVED: dict[str, list[str]] = {}
for _kind, _spec in TABLES.items():
    if _spec.parent:
        DERIVED.setdefault(_spec.parent, []).append(_kind)

_SCHEMA = Path(__file__).with_name("store.sql").read_text(encoding="utf-8")


def compare_digest(kind: str, value: str) -> str:
    """The digest by which a writer says which value it saw."""
    return hashlib.sha256(f"{kind}\0{value}".encode()).hexdigest()


def _dump(doc: Any) -> str:
    return orjson.dumps(doc).decode()


def _create_table(kind: str, table: _Table) -> Iterator[str]:
    own = "parent_id INTEGER NOT NULL" if table.parent else "doc TEXT NOT NULL"
    columns = ", ".join(f"{name} {declared}" for name, (declared, _) in table.columns.items())
    yield f"CREATE TABLE IF NOT EXISTS t_{kind} (id INTEGER PRIMARY KEY, {own}, {columns})"
    for name in table.indexes:
        yield f"CREATE INDEX IF NOT EXISTS t_{kind}_{name} ON t_{kind} ({name})"


def doc_key(doc: Mapping[str, Any]) -> int:
    """The number under which a document is kept: `_key`, or the number in its gid."""
    key = doc.get("_key")
    return key if isinstance(key, int) else gid_number(doc["id"])


@dataclass
class Touched:
    """What a transaction wrote to, as it was before: documents by (type, number), inventory levels by (item, location)."""

    documents: dict[tuple[str, int], Doc | None] = field(default_factory=dict)
    levels: dict[tuple[int, int], InventoryLevel | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything was written to."""
        return bool(self.documents or self.levels)


class Watcher(Protocol):
    """Who is told, at the end of each transaction and still inside it, what the transaction touched."""

    kinds: frozenset[str]
    """The document types it wants to hear of; inventory levels come in any case."""

    def changed(self, store: Store, touched: Touched) -> Callable[[], None] | None:
        """Look at the changes; what it writes is part of the transaction, what it returns is called after the commit."""


class Store:
    """The documents of one shop. Any thread may read and write; writes are serialised (also between processes).

    `watcher`, where set, hears of everything that `put`, `delete`, `put_level` and `adjust_inventory` change (`insert_many` and the
    other fast ways to fill a store are not watched).
    """

    def __init__(self, path: Path | str) -> None:
        """Open or create the store in folder `path`."""
        self.folder = Path(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / STORE_FILE
        self._local = threading.local()
        self._writer = threading.RLock()
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        self.watcher: Watcher | None = None
        if self._layout() != LAYOUT:
            self._create()

    def _layout(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _create(self) -> None:
        with self.transaction() as connection:
            if self._layout() not in EXTENDABLE:
                raise StoreError(f"{self.path} was made by another version of the sandbox store: remove it and fill it again")
            statements = [*(part for part in _SCHEMA.split(";") if part.strip())]
            for kind, table in TABLES.items():
                statements.extend(_create_table(kind, table))
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {LAYOUT}")

    # -- connections and transactions

    def connect(self) -> sqlite3.Connection:
        """A new connection of the caller's own (long readers use one, so that they see one state)."""
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-32000")
        # The same few pages (counters, the ends of indexes) are written by every order: copy them back less often.
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        return connection

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self.connect()
            self._local.depth = 0
            with self._connections_lock:
                self._connections.append(connection)
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All writes inside become visible together, or none; nests into the outer one."""
        with self._writer:
            connection = self.connection
            if self._local.depth:
                point = f"nested_{self._local.depth}"
                connection.execute(f"SAVEPOINT {point}")
                self._local.depth += 1
                try:
                    yield connection
                except BaseException:
                    connection.execute(f"ROLLBACK TO {point}")
                    raise
                finally:
                    connection.execute(f"RELEASE {point}")
                    self._local.depth -= 1
                return
            connection.execute("BEGIN IMMEDIATE")
            self._local.depth = 1
            touched = self._local.touched = Touched()
            try:
                yield connection
                announce = self.watcher.changed(self, touched) if self.watcher is not None and touched else None
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            else:
                connection.execute("COMMIT")
            finally:
                self._local.depth = 0
            if announce is not None:
                announce()

    @contextmanager
    def _last_write(self) -> Iterator[sqlite3.Connection]:
        """A transaction whose last statement is its only write: inside another it needs no savepoint, SQLite undoes a failed statement."""
        if getattr(self._local, "depth", 0):
            yield self.connection
            return
        with self.transaction() as connection:
            yield connection

    def _note(self, kind: str, number: int) -> None:
        """Remember a document as it is before the transaction's first write to it, where somebody watches."""
        if self.watcher is None or kind not in self.watcher.kinds:
            return
        documents = self._local.touched.documents
        if (kind, number) not in documents:
            documents[kind, number] = self.get(kind, number)

    def _note_level(self, item_id: int, location_id: int) -> None:
        """The same of an inventory level."""
        if self.watcher is not None and (item_id, location_id) not in self._local.touched.levels:
            self._local.touched.levels[item_id, location_id] = self.level(item_id, location_id)

    def _note_levels(self, item_id: int) -> None:
        """The same of all levels of an item."""
        for level in self.levels(item_id) if self.watcher is not None else ():
            self._local.touched.levels.setdefault((item_id, level["locationId"]), level)

    def close(self) -> None:
        """Close every thread's connection."""
        with self._connections_lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    # -- ids and settings

    def next_ids(self, kind: str, count: int) -> list[int]:
        """`count` new ids of type `kind`, ascending, never given out before."""
        with self._last_write() as connection:
            row = connection.execute("SELECT last FROM counters WHERE kind = ?", (kind,)).fetchone()
            last = row[0] if row else ID_START.get(kind, DEFAULT_ID_START) - ID_STEP
            ids = [last + ID_STEP * step for step in range(1, count + 1)]
            if ids:
                connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (kind, ids[-1]))
            return ids

    def next_id(self, kind: str) -> int:
        """One new id of type `kind`."""
        return self.next_ids(kind, 1)[0]

    def setting(self, name: str) -> Any:
        """A setting of the store, or None."""
        row = self.connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return orjson.loads(row[0]) if row else None

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON-able setting."""
        with self._last_write() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, _dump(value)))

    def shop(self) -> Doc | None:
        """The shop's own document."""
        doc: Doc | None = self.setting("shop")
        return doc

    def set_shop(self, doc: Doc) -> None:
        """Set the shop's own document (see `documents.shop_doc`)."""
        self.set_setting("shop", doc)

    # -- documents

    def insert_many(self, kind: str, docs: Iterable[Doc]) -> int:
        """Add new documents (fast); their ids must not exist yet. Returns how many."""
        count = 0
        with self.transaction() as connection:
            batch: list[Doc] = []
            for doc in docs:
                batch.append(doc)
                if len(batch) >= BATCH:
                    self._write(connection, kind, batch, "INSERT")
                    count += len(batch)
                    batch = []
            if batch:
                self._write(connection, kind, batch, "INSERT")
                count += len(batch)
        return count

    def put(self, kind: str, doc: Doc) -> None:
        """Add a document or replace the one with its id."""
        number = doc_key(doc)
        with self.transaction() as connection:
            self._note(kind, number)
            for derived in DERIVED.get(kind, ()):
                if kind == "Product":
                    kept = {doc_key(child) for child in TABLES[derived].children(doc)}
                    rows = connection.execute(f"SELECT id FROM t_{derived} WHERE parent_id = ?", (number,)).fetchall()
                    gone = [(derived, row[0], doc.get("updatedAt")) for row in rows if row[0] not in kept]
                    connection.executemany("INSERT OR REPLACE INTO deletions VALUES (?, ?, ?)", gone)
                    for _, child, _ in gone if derived == "InventoryItem" else ():
                        self._note_levels(child)
                connection.execute(f"DELETE FROM t_{derived} WHERE parent_id = ?", (number,))
            connection.execute("DELETE FROM tags WHERE kind = ? AND id = ?", (kind, number))
            self._write(connection, kind, [doc], "INSERT OR REPLACE")

    def get(self, kind: str, number: int) -> Doc | None:
        """A document by number; what lives inside another document is found there."""
        table = TABLES.get(kind)
        if table is None:
            row = self.connection.execute("SELECT doc FROM others WHERE kind = ? AND id = ?", (kind, number)).fetchone()
            return orjson.loads(row[0]) if row else None
        if table.parent is None:
            row = self.connection.execute(f"SELECT doc FROM t_{kind} WHERE id = ?", (number,)).fetchone()
            return orjson.loads(row[0]) if row else None
        parent = self.parent_of(kind, number)
        return None if parent is None else _find(table, parent, number)

    def get_by_gid(self, value: str) -> Doc | None:
        """A document by gid; None where there is none, or the gid is malformed."""
        with suppress(ValueError):
            kind, number = parse_gid(value)
            return self.get(kind, number)
        return None

    def get_many(self, kind: str, numbers: Sequence[int]) -> dict[int, Doc]:
        """Documents of a type with a table of its own, by number; missing ones are left out."""
        found: dict[int, Doc] = {}
        for start in range(0, len(numbers), BATCH):
            chunk = numbers[start : start + BATCH]
            marks = ",".join("?" * len(chunk))
            for number, doc in self.connection.execute(f"SELECT id, doc FROM t_{kind} WHERE id IN ({marks})", chunk):
                found[number] = orjson.loads(doc)
        return found

    def parent_id(self, kind: str, number: int) -> int | None:
        """The number of the document in which a nested one lives (LineItem -> its order's number)."""
        row = self.connection.execute(f"SELECT parent_id FROM t_{kind} WHERE id = ?", (number,)).fetchone()
        return row[0] if row else None

    def parent_of(self, kind: str, number: int) -> Doc | None:
        """The document in which a nested one lives: `parent_of("InventoryItem", 5)` is its product."""
        table = TABLES[kind]
        parent = self.parent_id(kind, number)
        return None if parent is None or table.parent is None else self.get(table.parent, parent)

    def delete(self, kind: str, number: int, deleted_at: str) -> bool:
        """Remove a document with what hangs on it, and log that; False where there was none."""
        with self.transaction() as connection:
            is_table = kind in TABLES
            where = f"t_{kind} WHERE id = ?" if is_table else "others WHERE kind = ? AND id = ?"
            values: list[Any] = [number] if is_table else [kind, number]
            self._note(kind, number)
            if kind == "Product" and self.watcher is not None:
                for (item,) in connection.execute("SELECT id FROM t_InventoryItem WHERE parent_id = ?", (number,)).fetchall():
                    self._note_levels(item)
            if not connection.execute(f"DELETE FROM {where}", values).rowcount:
                return False
            for derived in DERIVED.get(kind, ()):
                if derived == "InventoryItem":
                    connection.execute(
                        "DELETE FROM inventory WHERE item_id IN (SELECT id FROM t_InventoryItem WHERE parent_id = ?)", (number,)
                    )
                connection.execute(
                    f"INSERT OR REPLACE INTO deletions SELECT '{derived}', id, ? FROM t_{derived} WHERE parent_id = ?", (deleted_at, number)
                )
                connection.execute(f"DELETE FROM t_{derived} WHERE parent_id = ?", (number,))
            connection.execute("DELETE FROM tags WHERE kind = ? AND id = ?", (kind, number))
            connection.execute("DELETE FROM metafields WHERE owner_kind = ? AND owner_id = ?", (kind, number))
            connection.execute("INSERT OR REPLACE INTO deletions VALUES (?, ?, ?)", (kind, number, deleted_at))
            return True

    def deletions(self, kind: str) -> dict[int, str]:
        """What was deleted, and when."""
        return dict(self.connection.execute("SELECT id, deleted_at FROM deletions WHERE kind = ?", (kind,)))

    def count(self, kind: str, where: str = "1", parameters: Sequence[Any] = (), limit: int | None = None) -> int:
        """How many documents match (at most `limit` are counted)."""
        bound = f" LIMIT {int(limit)}" if limit is not None else ""
        sql = f"SELECT count(*) FROM (SELECT 1 FROM t_{kind} AS t WHERE {where}{bound})"
        return int(self.connection.execute(sql, tuple(parameters)).fetchone()[0])

    def iterate(
        self,
        kind: str,
        where: str = "1",
        parameters: Sequence[Any] = (),
        *,
        sort: str = "id",
        reverse: bool = False,
        after: tuple[Any, int] | None = None,
        limit: int | None = None,
        connection: sqlite3.Connection | None = None,
    ) -> Iterator[tuple[Any, int, Doc]]:
        """(sort value, number, document) of a type in order of `sort` (a column, or SQL with parentheses), id; from after the given (sort value, number) on.

        `where` is SQL over the search columns of `t` (search.py makes it from Shopify's search syntax). Ties and nulls
        are ordered by id, nulls first. Streams: memory does not grow with the result.
        """
        table = TABLES[kind]
        descending = " DESC" if reverse else ""
        conditions, values = [f"({where})"], list(parameters)
        if after is not None:
            condition, bound = _after(sort, reverse, after)
            conditions.append(condition)
            values.extend(bound)
        tail = f" LIMIT {int(limit)}" if limit is not None else ""
        key = sort if "(" in sort else f"t.{sort}"
        order = f"t.id{descending}" if sort == "id" else f"{key}{descending}, t.id{descending}"
        own = "t.parent_id" if table.parent else "t.doc"
        sql = f"SELECT {key}, t.id, {own} FROM t_{kind} AS t WHERE {' AND '.join(conditions)} ORDER BY {order}{tail}"
        rows = (connection or self.connection).execute(sql, values)
        if table.parent is None:
            for value, number, text in rows:
                yield value, number, orjson.loads(text)
            return
        parents: OrderedDict[int, Doc | None] = OrderedDict()
        for value, number, parent_number in rows:
            if parent_number not in parents:
                parents[parent_number] = self.get(table.parent, parent_number)
                if len(parents) > 64:
                    parents.popitem(last=False)
            parent = parents[parent_number]
            doc = _find(table, parent, number) if parent else None
            if doc is not None:
                yield value, number, doc

    # -- tags

    def tags(self, kind: str, number: int) -> list[str]:
        """The tags of a document, as stored in it."""
        doc = self.get(kind, number)
        return list(doc.get("tags") or ()) if doc else []

    def set_tags(self, kind: str, number: int, tags: Sequence[str], updated_at: str) -> None:
        """Replace the tags of a document (both the document and the search index)."""
        with self.transaction():
            doc = self.get(kind, number)
            if doc is None:
                raise StoreError(f"no {kind} {number} to tag")
            doc["tags"] = list(tags)
            doc["updatedAt"] = updated_at
            self.put(kind, doc)

    # -- metafields

    def insert_metafields(self, metafields: Iterable[Metafield]) -> int:
        """Add new metafields (fast): `id`, `owner` (gid), `namespace`, `key`, `type`, `value`, `createdAt`, `updatedAt`."""
        rows = []
        for metafield in metafields:
            kind, number = parse_gid(metafield["owner"])
            digest = compare_digest(metafield["type"], metafield["value"])
            rows.append(
                (
                    gid_number(metafield["id"]),
                    kind,
                    number,
                    metafield["namespace"],
                    metafield["key"],
                    metafield["type"],
                    metafield["value"],
                    digest,
                    metafield["createdAt"],
                    metafield["updatedAt"],
                )
            )
        with self.transaction() as connection:
            connection.executemany("INSERT INTO metafields VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        return len(rows)

    def metafields(self, owner: str, namespace: str | None = None) -> list[Metafield]:
        """All metafields of an owner (gid), by id; of one namespace where given."""
        kind, number = parse_gid(owner)
        sql = "SELECT * FROM metafields WHERE owner_kind = ? AND owner_id = ?"
        values: list[Any] = [kind, number]
        if namespace is not None:
            sql += " AND namespace = ?"
            values.append(namespace)
        return [_metafield(row) for row in self.connection.execute(sql + " ORDER BY id", values)]

    def metafield(self, owner: str, namespace: str, key: str) -> Metafield | None:
        """One metafield of an owner (gid)."""
        kind, number = parse_gid(owner)
        row = self.connection.execute(
            "SELECT * FROM metafields WHERE owner_kind = ? AND owner_id = ? AND namespace = ? AND key = ?", (kind, number, namespace, key)
        ).fetchone()
        return _metafield(row) if row else None

    def metafield_by_id(self, number: int) -> Metafield | None:
        """One metafield by its number."""
        row = self.connection.execute("SELECT * FROM metafields WHERE id = ?", (number,)).fetchone()
        return _metafield(row) if row else None

    def set_metafield(self, owner: str, namespace: str, key: str, kind: str, value: str, at: str) -> Metafield:
        """Create or change a metafield of type `kind`; the id and creation time of an existing one stay."""
        with self.transaction() as connection:
            owner_kind, owner_number = parse_gid(owner)
            old = self.metafield(owner, namespace, key)
            digest = compare_digest(kind, value)
            if old is None:
                number = self.next_id("Metafield")
                connection.execute(
                    "INSERT INTO metafields VALUES (?,?,?,?,?,?,?,?,?,?)",
                    (number, owner_kind, owner_number, namespace, key, kind, value, digest, at, at),
                )
            else:
                connection.execute(
                    "UPDATE metafields SET type = ?, value = ?, compare_digest = ?, updated_at = ? WHERE id = ?",
                    (kind, value, digest, at, gid_number(old["id"])),
                )
            found = self.metafield(owner, namespace, key)
            if found is None:
                raise StoreError(f"metafield {namespace}.{key} of {owner} was not written")
            return found

    def delete_metafield(self, owner: str, namespace: str, key: str) -> bool:
        """Remove a metafield; False where there was none."""
        kind, number = parse_gid(owner)
        with self.transaction() as connection:
            sql = "DELETE FROM metafields WHERE owner_kind = ? AND owner_id = ? AND namespace = ? AND key = ?"
            return connection.execute(sql, (kind, number, namespace, key)).rowcount > 0

    # -- inventory

    def insert_levels(self, levels: Iterable[InventoryLevel]) -> int:
        """Add new inventory levels (fast)."""
        rows = [_level_row(level) for level in levels]
        with self.transaction() as connection:
            connection.executemany("INSERT INTO inventory VALUES (?,?,?,?,?,?,?)", rows)
        return len(rows)

    def put_level(self, level: InventoryLevel) -> None:
        """Add or replace a level."""
        with self._last_write() as connection:
            self._note_level(level["itemId"], level["locationId"])
            connection.execute("INSERT OR REPLACE INTO inventory VALUES (?,?,?,?,?,?,?)", _level_row(level))

    def level(self, item_id: int, location_id: int) -> InventoryLevel | None:
        """The stock of one item at one location."""
        sql = "SELECT * FROM inventory WHERE item_id = ? AND location_id = ?"
        row = self.connection.execute(sql, (item_id, location_id)).fetchone()
        return _level(row) if row else None

    def levels(self, item_id: int) -> list[InventoryLevel]:
        """The stock of one item at every location."""
        return [
            _level(row) for row in self.connection.execute("SELECT * FROM inventory WHERE item_id = ? ORDER BY location_id", (item_id,))
        ]

    def location_levels(self, location_id: int, after: int = 0, limit: int = 250) -> list[InventoryLevel]:
        """The stock at one location, by item id, from after item `after` on."""
        sql = "SELECT * FROM inventory WHERE location_id = ? AND item_id > ? ORDER BY item_id LIMIT ?"
        return [_level(row) for row in self.connection.execute(sql, (location_id, after, limit))]

    def adjust_inventory(self, changes: Iterable[tuple[int, int, str, int]], at: str) -> list[InventoryLevel]:
        """Add deltas (item, location, name, delta), all or none; `StoreError` where an item is not stocked there.

        `available` and the other parts of what is on hand move `on_hand` along, as in the real store.
        """
        changed: list[InventoryLevel] = []
        with self.transaction():
            for item_id, location_id, name, delta in changes:
                level = self.level(item_id, location_id)
                if level is None:
                    raise StoreError(f"inventory item {item_id} is not stocked at location {location_id}")
                times = level.setdefault("quantityUpdatedAt", {})
                for moved in (name,) if name in ("on_hand", "incoming") else (name, "on_hand"):
                    level["quantities"][moved] = level["quantities"].get(moved, 0) + delta
                    times[moved] = at
                level["updatedAt"] = at
                self.put_level(level)
                changed.append(level)
        return changed

    def available(self, item_ids: Sequence[int]) -> int:
        """Units available of these items over all locations."""
        if not item_ids:
            return 0
        marks = ",".join("?" * len(item_ids))
        sql = f"SELECT quantities FROM inventory WHERE is_active AND item_id IN ({marks})"
        return sum(int(orjson.loads(row[0]).get("available", 0)) for row in self.connection.execute(sql, list(item_ids)))

    # -- customers' figures

    def customer_figures(self, number: int) -> tuple[int, Decimal, int | None]:
        """A customer's orders (count), amount spent (not on cancelled or test orders) and last order's number."""
        row = self.connection.execute(
            "SELECT count(*), coalesce(sum(CASE WHEN status <> 'cancelled' THEN current_total END), 0) "
            "FROM t_Order WHERE customer_id = ? AND NOT is_test",
            (number,),
        ).fetchone()
        last = self.connection.execute(
            "SELECT id FROM t_Order WHERE customer_id = ? ORDER BY processed_at DESC, id DESC LIMIT 1", (number,)
        ).fetchone()
        return int(row[0]), Decimal(str(row[1])).quantize(Decimal("0.01")), last[0] if last else None

    # -- idempotency keys, ground truth

    def idempotency(self, key: str) -> Doc | None:
        """What is known of an idempotency key: mutation, fingerprint, state, payload, createdAt."""
        row = self.connection.execute(
            "SELECT mutation, fingerprint, state, payload, created_at FROM idempotency WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        payload = orjson.loads(row[3]) if row[3] else None
        return {"mutation": row[0], "fingerprint": row[1], "state": row[2], "payload": payload, "createdAt": row[4]}

    def set_idempotency(self, key: str, mutation: str, fingerprint: str, state: str, payload: Any, at: str) -> None:
        """Remember an idempotency key."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO idempotency VALUES (?,?,?,?,?,?)", (key, mutation, fingerprint, state, _dump(payload), at)
            )

    def drop_idempotency(self, created_before: str) -> int:
        """Forget keys older than that."""
        with self.transaction() as connection:
            return connection.execute("DELETE FROM idempotency WHERE created_at < ?", (created_before,)).rowcount

    def insert_truth(self, kind: str, rows: Iterable[tuple[str | int, Any]]) -> int:
        """Keep what only the generator knows (parameters, the list of bad records): (id, JSON-able) rows of a kind."""
        values = [(kind, str(number), _dump(doc)) for number, doc in rows]
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO truth VALUES (?,?,?)", values)
        return len(values)

    def truth(self, kind: str) -> Iterator[tuple[str, Any]]:
        """(id, value) of everything kept under a kind of ground truth."""
        for number, doc in self.connection.execute("SELECT id, doc FROM truth WHERE kind = ? ORDER BY id", (kind,)):
            yield number, orjson.loads(doc)

    # -- access tokens

    def issue_token(self, kind: str, scopes: Iterable[str], expires_at: float | None, client_id: str | None = None) -> str:
        """Make and keep a token (`shpat_…`, `shprt_…` for refresh tokens)."""
        token = {"refresh": "shprt_"}.get(kind, "shpat_") + secrets.token_hex(16)
        self.put_token(token, kind, scopes, expires_at, client_id)
        return token

    def put_token(self, token: str, kind: str, scopes: Iterable[str], expires_at: float | None, client_id: str | None = None) -> None:
        """Keep a given token."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO tokens VALUES (?,?,?,?,?,0)", (token, kind, _dump(sorted(scopes)), expires_at, client_id)
            )

    def token(self, token: str) -> Doc | None:
        """What is known of a token: kind, scopes, expiresAt, clientId, used."""
        row = self.connection.execute("SELECT kind, scopes, expires_at, client_id, used FROM tokens WHERE token = ?", (token,)).fetchone()
        if row is None:
            return None
        return {"kind": row[0], "scopes": orjson.loads(row[1]), "expiresAt": row[2], "clientId": row[3], "used": bool(row[4])}

    def use_token(self, token: str) -> bool:
        """Mark a refresh token as used; False where it was used before or is unknown."""
        with self.transaction() as connection:
            return connection.execute("UPDATE tokens SET used = 1 WHERE token = ? AND NOT used", (token,)).rowcount == 1

    # -- writing rows

    def _write(self, connection: sqlite3.Connection, kind: str, docs: Sequence[Doc], verb: str) -> None:
        table = TABLES.get(kind)
        try:
            if table is None:
                connection.executemany(f"{verb} INTO others VALUES (?,?,?)", [(kind, doc_key(doc), _dump(doc)) for doc in docs])
                return
            if table.parent is not None:
                raise StoreError(f"{kind} lives inside {table.parent}: put that")
            readers = [read for _, read in table.columns.values()]
            keys = [doc_key(doc) for doc in docs]
            rows = [(key, _dump(doc), *(read(doc) for read in readers)) for key, doc in zip(keys, docs, strict=True)]
            connection.executemany(f"{verb} INTO t_{kind} VALUES ({','.join('?' * len(rows[0]))})", rows)
            for derived in DERIVED.get(kind, ()):
                self._write_derived(connection, derived, keys, docs, verb)
            tags = [
                (kind, key, tag.casefold(), tag)
                for key, doc in zip(keys, docs, strict=True)
                for tag in doc.get("tags") or ()
                if isinstance(tag, str)
            ]
            if tags:
                connection.executemany("INSERT OR IGNORE INTO tags VALUES (?,?,?,?)", tags)
        except sqlite3.IntegrityError as error:
            raise StoreError(f"{kind}: {error} (insert_many takes new ids only)") from error

    def _write_derived(self, connection: sqlite3.Connection, kind: str, keys: Sequence[int], docs: Sequence[Doc], verb: str) -> None:
        table = TABLES[kind]
        readers = [read for _, read in table.columns.values()]
        rows = []
        for parent, doc in zip(keys, docs, strict=True):
            for child in table.children(doc):
                with suppress(ValueError, KeyError, TypeError):
                    rows.append((doc_key(child), parent, *(read(child) for read in readers)))
        if rows:
            connection.executemany(f"{verb} INTO t_{kind} VALUES ({','.join('?' * len(rows[0]))})", rows)


def _find(table: _Table, parent: Doc, number: int) -> Doc | None:
    for child in table.children(parent):
        with suppress(ValueError, KeyError, TypeError):
            if doc_key(child) == number:
                return child
    return None


def _after(sort: str, reverse: bool, after: tuple[Any, int]) -> tuple[str, list[Any]]:
    value, number = after
    compare = "<" if reverse else ">"
    key = sort if "(" in sort else f"t.{sort}"
    if sort == "id":
        return f"t.id {compare} ?", [number]
    if value is None:
        rest = "" if reverse else f" OR {key} IS NOT NULL"
        return f"(({key} IS NULL AND t.id {compare} ?){rest})", [number]
    nulls = f" OR {key} IS NULL" if reverse else ""
    return f"({key} {compare} ? OR ({key} = ? AND t.id {compare} ?){nulls})", [value, value, number]


def _metafield(row: Sequence[Any]) -> Metafield:
    number, owner_kind, owner_id, namespace, key, kind, value, digest, created_at, updated_at = row
    return {
        "id": gid("Metafield", number),
        "owner": gid(owner_kind, owner_id),
        "ownerType": OWNER_TYPES.get(owner_kind, owner_kind.upper()),
        "namespace": namespace,
        "key": key,
        "type": kind,
        "value": value,
        "compareDigest": digest,
        "createdAt": created_at,
        "updatedAt": updated_at,
    }


OWNER_TYPES = {"ProductVariant": "PRODUCTVARIANT", "CompanyLocation": "COMPANY_LOCATION", "DraftOrder": "DRAFTORDER"}


def _level_row(level: InventoryLevel) -> tuple[Any, ...]:
    return (
        level["itemId"],
        level["locationId"],
        int(level["isActive"]),
        level["createdAt"],
        level["updatedAt"],
        _dump(level["quantities"]),
        _dump(level.get("quantityUpdatedAt") or {}),
    )


def _level(row: Sequence[Any]) -> InventoryLevel:
    item_id, location_id, is_active, created_at, updated_at, quantities, times = row
    return {
        "itemId": item_id,
        "locationId": location_id,
        "isActive": bool(is_active),
        "createdAt": created_at,
        "updatedAt": updated_at,
        "quantities": orjson.loads(quantities),
        "quantityUpdatedAt": orjson.loads(times),
    }
