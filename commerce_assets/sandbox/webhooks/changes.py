"""What a write means to subscribers: old documents against new ones, turned into topics, payloads and rows of `webhook_events`.

Belongs here: which change is which topic, and recording it in the transaction of the write, so that what is committed is
announced and nothing else. Does not belong here: the payloads' shape (payloads.py) and sending them (delivery.py).

One mutation is one event (`event_id`) with a topic for each thing it changed; every subscription to a topic gets a delivery of
its own (`webhook_id`). Without a subscription nothing is emitted. As in the real store, tags of customers are no part of
`customers/update`: a change of tags alone is only told by `customer.tags_added` and `customer.tags_removed`. Of an inventory
level every change of a quantity counts (`committed` too), because its `updatedAt` moves.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from commerce_assets.sandbox.documents import Doc, gid_number, inventory_level_gid
from commerce_assets.sandbox.reading import SUPPORTED_VERSIONS
from commerce_assets.sandbox.store import Store, Touched
from commerce_assets.sandbox.webhooks.payloads import ORDER_TOPICS, render
from commerce_assets.sandbox.webhooks.subscriptions import COMPLIANCE, KIND, Directory, included, number_of, passes

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELED", "EXPIRED"})
# In the order in which they are told: what others refer to first.
TOLD = ("Product", "Customer", "Order", "BulkOperation")
_FULFILLMENT_TOPICS = {"FULFILLED": "orders/fulfilled", "PARTIALLY_FULFILLED": "orders/partially_fulfilled"}


@dataclass(frozen=True)
class Change:
    """One topic of a change: its object (gid), the documents before and after, and what `render` is told besides."""

    topic: str
    object: str
    before: Any
    after: Any
    extra: Doc | None = None
    order_id: int | None = None


def changes_of(kind: str, before: Doc | None, after: Doc | None) -> Iterator[Change]:
    """The topics that follow from a document's change; none where it did not change."""
    if before == after:
        return
    compare = {"Product": _product, "Customer": _customer, "Order": _order, "BulkOperation": _bulk_operation}[kind]
    yield from compare(before, after)


def level_change(item: int, location: int, before: Doc | None, after: Doc | None) -> Change | None:
    """The topic that follows from a level's change; None where no quantity changed."""
    was, now = bool(before and before["isActive"]), bool(after and after["isActive"])
    if was and now:
        if (before or {})["quantities"] == (after or {})["quantities"]:
            return None
        what = "update"
    elif was or now:
        what = "connect" if now else "disconnect"
    else:
        return None
    return Change(f"inventory_levels/{what}", inventory_level_gid(item, location), before, after)


def _order(before: Doc | None, after: Doc | None) -> Iterator[Change]:
    if after is None:
        yield Change("orders/delete", (before or {})["id"], before, None)
        return
    old = before or {}
    number = gid_number(after["id"])

    def whole(topic: str) -> Change:
        return Change(topic, after["id"], before, after, order_id=number)

    def part(topic: str, entry: Doc) -> Change:
        return Change(topic, entry["id"], before, after, entry, number)

    yield whole("orders/updated" if before else "orders/create")
    for entry in _new(old, after, "transactions"):
        yield part("order_transactions/create", entry)
    if _became(old, after, "displayFinancialStatus") == "PAID":
        yield whole("orders/paid")
    known = {entry["id"]: entry for entry in old.get("fulfillments") or ()}
    for entry in after.get("fulfillments") or ():
        if entry != known.get(entry["id"]):
            what = "update" if entry["id"] in known else "create"
            yield part(f"fulfillments/{what}", entry)
    shipped = _FULFILLMENT_TOPICS.get(_became(old, after, "displayFulfillmentStatus") or "")
    if shipped:
        yield whole(shipped)
    for entry in _new(old, after, "refunds"):
        yield part("refunds/create", entry)
    if after.get("cancelledAt") and not old.get("cancelledAt"):
        yield whole("orders/cancelled")


def _new(before: Doc, after: Doc, name: str) -> list[Doc]:
    known = {entry["id"] for entry in before.get(name) or ()}
    return [entry for entry in after.get(name) or () if entry["id"] not in known]


def _became(before: Doc, after: Doc, name: str) -> str | None:
    value = after.get(name)
    return None if value == before.get(name) else value


def _customer(before: Doc | None, after: Doc | None) -> Iterator[Change]:
    if after is None:
        yield Change("customers/delete", (before or {})["id"], before, None)
        return
    if before is None:
        yield Change("customers/create", after["id"], None, after)
    elif _but(before, "tags", "updatedAt") != _but(after, "tags", "updatedAt") or before.get("tags") == after.get("tags"):
        yield Change("customers/update", after["id"], before, after)
    old, new = list((before or {}).get("tags") or ()), list(after.get("tags") or ())
    for topic, first, second in (("customer.tags_added", new, old), ("customer.tags_removed", old, new)):
        tags = [tag for tag in first if tag not in second]
        if tags:
            yield Change(topic, after["id"], before, after, {"tags": tags, "occurredAt": after["updatedAt"]})


def _but(doc: Doc, *names: str) -> Doc:
    return {name: value for name, value in doc.items() if name not in names}


def _product(before: Doc | None, after: Doc | None) -> Iterator[Change]:
    old, new = _items(before), _items(after)
    if after is None:
        yield Change("products/delete", (before or {})["id"], before, None)
    else:
        yield Change("products/update" if before else "products/create", after["id"], before, after)
    for identity, item in new.items():
        if item != old.get(identity):
            what = "update" if identity in old else "create"
            yield Change(f"inventory_items/{what}", identity, old.get(identity), item)
    for identity in old:
        if identity not in new:
            yield Change("inventory_items/delete", identity, old[identity], None)


def _items(product: Doc | None) -> dict[str, Doc]:
    variants = (product or {}).get("variants") or ()
    return {variant["inventoryItem"]["id"]: variant["inventoryItem"] for variant in variants if variant.get("inventoryItem")}


def _bulk_operation(before: Doc | None, after: Doc | None) -> Iterator[Change]:
    if after and after["status"] in ENDED and (before or {}).get("status") not in ENDED:
        yield Change("bulk_operations/finish", after["id"], before, after)


def nanoseconds_text(moment: int) -> str:
    """A moment in nanoseconds since 1970 as `X-Shopify-Triggered-At` writes it."""
    seconds, rest = divmod(moment, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


_INSERT = (
    "INSERT INTO webhook_events (webhook_id, event_id, subscription_id, uri, topic, object, order_id, triggered_at, api_version, name)"
    " VALUES (?,?,?,?,?,?,?,?,?,?)"
)


def changes_in(store: Store, touched: Touched) -> Iterator[Change]:
    """The topics that follow from all that a transaction touched."""
    for kind in TOLD:
        for (touched_kind, number), before in touched.documents.items():
            if touched_kind == kind:
                yield from changes_of(kind, before, store.get(kind, number))
    for (item, location), level in touched.levels.items():
        change = level_change(item, location, level, store.level(item, location))  # type: ignore[arg-type]
        if change is not None:
            yield change


class Recorder:
    """Watches a store (`Store.watcher`) and records what its subscribers are to be told; `announce` is called after the commit."""

    kinds = frozenset({*TOLD, KIND})

    def __init__(self, directory: Directory, announce: Callable[[], None]) -> None:
        """`directory` is the store's; the recorder keeps it up to date."""
        self.directory = directory
        self.announce = announce
        self._last = 0

    def changed(self, store: Store, touched: Touched) -> Callable[[], None] | None:
        """Record the events of a transaction, inside it."""
        if any(kind == KIND for kind, _ in touched.documents):
            self.directory.forget()
            return self._subscriptions_changed
        if not self.directory.topics():
            return None
        found = [change for change in changes_in(store, touched) if self.directory.of(change.topic)]
        if not found:
            return None
        self._record(store, found)
        return self.announce

    def _subscriptions_changed(self) -> None:
        # Once more after the commit: somebody may have read between the first time and now.
        self.directory.forget()
        self.announce()

    def _record(self, store: Store, found: list[Change]) -> None:
        shop = store.shop() or {}
        event_id = str(uuid.uuid4())
        bodies: dict[tuple[str, str], tuple[Doc, bytes]] = {}
        for change in found:
            # The topics of an order have one body in common: it is made once for a change.
            key = "orders" if change.topic in ORDER_TOPICS else change.topic, change.object
            rendered = bodies.get(key)
            if rendered is None:
                payload = render(store, shop, change.topic, change.before, change.after, change.extra)
                rendered = bodies[key] = payload, orjson.dumps(payload)
            for subscription in self.directory.of(change.topic):
                if not passes(subscription.get("filter"), rendered[0]):
                    continue
                fields = subscription.get("includeFields")
                body = orjson.dumps(included(rendered[0], fields)) if fields else rendered[1]
                self._add(store, event_id, change.topic, body, subscription, object_id=change.object, order_id=change.order_id)

    def emit(self, store: Store, topic: str, body: bytes, uri: str | None = None, triggered_at: str | None = None) -> list[str]:
        """Emit a topic with a given body, as it is; returns the webhook ids.

        It goes to `uri` where given, else to the topic's subscriptions; what nobody can subscribe to (compliance topics) goes to
        every address that receives anything.
        """
        event_id = str(uuid.uuid4())
        with store.transaction():
            if uri is not None:
                ids = [self._add(store, event_id, topic, body, None, uri=uri, triggered_at=triggered_at)]
            elif topic in COMPLIANCE:
                addresses = dict.fromkeys(doc["uri"] for doc in self.directory.all())
                ids = [self._add(store, event_id, topic, body, None, uri=address, triggered_at=triggered_at) for address in addresses]
            else:
                ids = [self._add(store, event_id, topic, body, doc, triggered_at=triggered_at) for doc in self.directory.of(topic)]
        self.announce()
        return ids

    def _add(
        self,
        store: Store,
        event_id: str,
        topic: str,
        body: bytes,
        subscription: Doc | None,
        *,
        object_id: str | None = None,
        order_id: int | None = None,
        uri: str | None = None,
        triggered_at: str | None = None,
    ) -> str:
        webhook_id = str(uuid.uuid4())
        # Later events carry later times, whatever the machine's clock does.
        self._last = max(time.time_ns(), self._last + 1)
        row = (
            webhook_id,
            event_id,
            number_of(subscription) if subscription else None,
            uri,
            topic,
            object_id,
            order_id,
            triggered_at or nanoseconds_text(self._last),
            subscription["apiVersion"]["handle"] if subscription else SUPPORTED_VERSIONS[-1],
            subscription.get("name") if subscription else None,
        )
        seq = store.connection.execute(_INSERT, row).lastrowid
        store.connection.execute("INSERT INTO webhook_bodies VALUES (?, ?)", (seq, body))
        return webhook_id
