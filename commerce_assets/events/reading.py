"""From a stored event to what it says: the object, its version, the part; or why it cannot be read.

Belongs here: looking into payloads. Does not belong here: what is held already, and deciding (decide.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

import orjson

from commerce_assets.events.intake_rules import moment
from commerce_assets.events.records import StoredEvent
from commerce_assets.events.topics import TOPICS, Carries, Topic

ANY = "any"
"""In what an order awaits: a transaction, whichever."""
ON_THE_WAY = frozenset({"in_transit", "out_for_delivery", "attempted_delivery", "delivered", "failure"})
"""`shipment_status` of a fulfillment about which a carrier reported: when it did is not in any payload."""
_PAID = frozenset({"authorized", "paid", "partially_paid", "partially_refunded", "refunded"})
_BIGINT_MAX = 2**63 - 1
_EXACT_UP_TO = 2**53


class UnreadableError(Exception):
    """A payload that can never be worked; the message names the fault, never a value."""


@dataclass(slots=True)
class Read:
    """An event that was looked into. `object_id` is None only where the topic's lane needs none; of a part it is the order's."""

    event: StoredEvent
    topic: Topic
    object_type: str
    object_id: int | None
    body: bytes
    """The payload on one line, otherwise byte for byte."""
    digest: str
    version_at: datetime | None = None
    part_type: str | None = None
    part_id: int | None = None
    is_with_carrier: bool = False
    """A carrier reported about a fulfillment: the payload says less than the storefront."""
    awaits: frozenset[str] = frozenset()
    """Of a whole order: ids of transactions it speaks of; `ANY` where it was paid."""
    attempts: int = 0
    waits: int = 0

    @property
    def seq(self) -> int:
        return self.event.seq

    @property
    def triggered_at(self) -> datetime | None:
        return self.event.delivery.triggered_at

    @property
    def received_at(self) -> datetime:
        return self.event.delivery.received_at

    @property
    def is_birth(self) -> bool:
        """Whether the object's life begins with this event."""
        return self.topic.name == "orders/create"


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of a fetched order, as `order_transactions/create` would have brought it."""

    part_id: int
    digest: str
    version_at: datetime | None
    body: bytes


def read_transaction(body: bytes) -> Transaction:
    """Look into a fetched transaction. Raises `UnreadableError`."""
    document = _document(body)
    topic = TOPICS["order_transactions/create"]
    return Transaction(_own_id(document, topic.object_type), _digest(body), _version(topic, document), one_line(body))


def read_event(event: StoredEvent, attempts: int = 0, waits: int = 0) -> Read:
    """Look into an event. Raises `UnreadableError` where no later try could do better."""
    delivery = event.delivery
    topic = TOPICS.get(delivery.topic)
    if topic is None:
        raise UnreadableError("unknown_topic: no lane takes this topic")
    document = _document(delivery.body)
    digest = _digest(delivery.body)
    body = one_line(delivery.body)
    object_type = delivery.object_type or ("Order" if topic.owner_key else topic.object_type)
    read = Read(event, topic, object_type, delivery.object_id, body, digest, attempts=attempts, waits=waits)
    if topic.carries in (Carries.COMPLIANCE, Carries.CONTROL, Carries.STOCK):
        return read
    if read.object_id is None or not 0 < read.object_id <= _BIGINT_MAX:
        raise UnreadableError("no_id: the payload does not say which object it is about")
    read.version_at = _version(topic, document)
    if topic.carries is Carries.PART:
        read.part_type, read.part_id = topic.object_type, _own_id(document, topic.object_type)
        read.is_with_carrier = topic.object_type == "Fulfillment" and document.get("shipment_status") in ON_THE_WAY
    elif topic.carries is Carries.WHOLE:
        if read.version_at is None:
            raise UnreadableError("no_version: updated_at is missing or no moment")
        read.is_with_carrier = any(_get(each, "shipment_status") in ON_THE_WAY for each in _list(document, "fulfillments"))
        read.awaits = _awaited(document)
    return read


def one_line(body: bytes) -> bytes:
    """A JSON body on one line: a line feed inside a text would not be JSON, so those that are there stand between values."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in body or b"\r" in body else body


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnreadableError("malformed: the body is no JSON (UTF-8, whole, nested at most 1,024 deep)") from None
    if not isinstance(document, dict):
        raise UnreadableError("malformed: the body is no JSON object")
    return document


def _version(topic: Topic, document: Mapping[str, Any]) -> datetime | None:
    value: Any = document
    for key in topic.version_key.split("."):
        value = _get(value, key)
    if value is None and topic.carries is Carries.PART:
        value = document.get("updated_at") or document.get("created_at")
    return moment(value)


def _own_id(document: Mapping[str, Any], object_type: str) -> int:
    """The exact id of a part: beyond 2^53 the gid's, for numbers may have been rounded on the way."""
    number, gid = document.get("id"), document.get("admin_graphql_api_id")
    tail = gid.removeprefix(f"gid://shopify/{object_type}/") if isinstance(gid, str) else ""
    exact = int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 20 else None
    if exact is not None and (type(number) is not int or number > _EXACT_UP_TO):
        number = exact
    if type(number) is not int or not 0 < number <= _BIGINT_MAX:
        raise UnreadableError("no_id: the payload does not say which part of the order it is")
    return number


def _awaited(order: Mapping[str, Any]) -> frozenset[str]:
    """The transactions an order speaks of: those of its refunds by id, and of its payment at least one."""
    awaited = {str(_get(each, "id")) for refund in _list(order, "refunds") for each in _list(refund, "transactions")}
    if order.get("financial_status") in _PAID and _is_positive(order.get("total_price")):
        awaited.add(ANY)
    return frozenset(awaited)


def _is_positive(amount: Any) -> bool:
    try:
        return Decimal(str(amount)) > 0
    except InvalidOperation:
        return False


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any, key: str) -> list[Any]:
    found = _get(value, key)
    return found if isinstance(found, list) else []
