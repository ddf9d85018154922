"""What travels between the ways in, the inbox and the worker.

Belongs here: plain records. Does not belong here: storing and deciding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it came in, before it is stored. `body` is what was signed, byte for byte; `webhook_id` is the key of deduplication."""

    source: str
    """webhook, sqs, kafka, folder, wms or reconcile."""
    webhook_id: str
    topic: str
    shop: str
    body: bytes
    received_at: datetime
    triggered_at: datetime | None = None
    event_id: str | None = None
    api_version: str | None = None
    object_type: str | None = None
    object_id: int | None = None
    """Numeric id of the object; of a part, of the order that owns it. None where the body does not say."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that matter beside these, lower case; never the signature."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A delivery in the inbox. `seq` rises in the order of storing; `deliveries` counts how often it came."""

    seq: int
    delivery: Delivery
    stored_at: datetime
    deliveries: int = 1
