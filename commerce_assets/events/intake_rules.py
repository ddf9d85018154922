"""From headers and a raw body to a delivery, whichever way it came: whose it is, what it is about, or why it is refused.

Belongs here: the rules all ways in share. Does not belong here: transports, storing, and what a payload means (the worker's).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from commerce_assets.config import SANDBOX_SHOP, Settings
from commerce_assets.events.inbox import Rejection
from commerce_assets.events.records import Delivery
from commerce_assets.events.signatures import is_signed
from commerce_assets.events.topics import TOPICS, Carries, Topic

TOPIC, SIGNATURE, SHOP, WEBHOOK_ID = "x-shopify-topic", "x-shopify-hmac-sha256", "x-shopify-shop-domain", "x-shopify-webhook-id"
TRIGGERED_AT, EVENT_ID, API_VERSION = "x-shopify-triggered-at", "x-shopify-event-id", "x-shopify-api-version"
KEPT_HEADERS = ("x-shopify-sub-topic", "x-shopify-name", "x-shopify-test")
"""Kept with the event beside those that have a field of their own."""

SHOP_TOPICS = frozenset(
    topic.name for topic in TOPICS.values() if topic.carries is not Carries.STOCK and not topic.name.startswith("reconcile/")
)
"""What a shop may send; the rest are our own."""

ID_CHARACTERS = 255
VERSION_CHARACTERS = 40
# Beyond it, whatever passed through a floating point number (as in Shopify's own examples) is rounded.
_EXACT_UP_TO = 2**53
_BIGINT_MAX = 2**63 - 1


class RefusedError(Exception):
    """A delivery that is not taken. `status` is HTTP's, `reason` a short word to count it by; the message holds nothing of the delivery."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class IntakeRules:
    """What is ours: the shop's myshopify domain, the secrets that may sign (the current one first), the topics taken."""

    shop: str
    secrets: tuple[str, ...]
    topics: Collection[str] = field(default=SHOP_TOPICS)

    @classmethod
    def of(cls, settings: Settings) -> "IntakeRules":
        """The rules of the configured shop."""
        return cls(settings.shopify_shop or SANDBOX_SHOP, settings.webhook_secrets)

    def check_signature(self, headers: Mapping[str, str], body: bytes) -> None:
        """401 unless one of the secrets signed the body."""
        signature = headers.get(SIGNATURE)
        if not signature:
            raise RefusedError(401, "unsigned", f"header {SIGNATURE} is missing")
        if not is_signed(body, signature.encode("utf-8", "replace"), self.secrets):
            raise RefusedError(401, "bad_signature", "the signature does not match the body; check the app's client secret")

    def delivery(
        self, source: str, headers: Mapping[str, str], body: bytes, received_at: datetime, webhook_id: str | None = None
    ) -> Delivery:
        """The delivery, if it is ours. `headers` in lower case; `webhook_id` stands in where no header gives one. `RefusedError`: 400, 403, 404."""
        topic_name, shop = _required(headers, TOPIC), _required(headers, SHOP)
        webhook_id = _required(headers, WEBHOOK_ID, webhook_id)
        if shop.lower() != self.shop.lower():
            raise RefusedError(403, "other_shop", "the event is of another shop; check SHOPIFY_SHOP")
        topic = TOPICS.get(topic_name)
        if topic is None or topic_name not in self.topics:
            raise RefusedError(404, "unknown_topic", "the topic is not taken here; unsubscribe it with `commerce webhooks sync`")
        object_type, object_id = object_of(topic, body)
        return Delivery(
            source=source,
            webhook_id=webhook_id,
            topic=topic_name,
            shop=self.shop,
            body=body,
            received_at=received_at,
            triggered_at=moment(headers.get(TRIGGERED_AT)),
            event_id=_text(headers.get(EVENT_ID)),
            api_version=_text(headers.get(API_VERSION), VERSION_CHARACTERS),
            object_type=object_type,
            object_id=object_id,
            headers={name: value for name in KEPT_HEADERS if (value := _text(headers.get(name)))},
        )


def rejection(source: str, headers: Mapping[str, str], reason: str, received_at: datetime) -> Rejection:
    """What is counted of a refused delivery; a topic we do not know is not kept, for anybody can make one up."""
    topic = headers.get(TOPIC, "")
    return Rejection(source, topic if topic in TOPICS else "other", reason, received_at)


def object_of(topic: Topic, body: bytes) -> tuple[str, int | None]:
    """(object type, numeric id) of what a payload is about; of a part, of the order that owns it. None where the body does not say."""
    object_type = "Order" if topic.owner_key else topic.object_type
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return object_type, None
    value = document
    for key in (topic.owner_key or topic.id_key).split("."):
        value = value.get(key) if isinstance(value, dict) else None
    number = _number(value, object_type)
    if isinstance(document, dict) and topic.owner_key is None and (number is None or number > _EXACT_UP_TO):
        number = _number(document.get("admin_graphql_api_id"), object_type) or number
    return object_type, number


def moment(value: Any) -> datetime | None:
    """An ISO 8601 moment in UTC, to the microsecond (a shop sends nanoseconds); None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _required(headers: Mapping[str, str], name: str, stand_in: str | None = None) -> str:
    value = _text(headers.get(name)) or _text(stand_in)
    if not value:
        raise RefusedError(400, "missing_header", f"header {name} is missing, too long or unreadable")
    return value


def _number(value: Any, object_type: str) -> int | None:
    """A positive 64-bit id from a number or a gid of that type."""
    if isinstance(value, str):
        tail = value.removeprefix(f"gid://shopify/{object_type}/").partition("?")[0]
        value = int(tail) if len(tail) < 20 and tail.isascii() and tail.isdigit() else None
    if type(value) is int and 0 < value <= _BIGINT_MAX:
        return value
    return None


def _text(value: str | None, characters: int = ID_CHARACTERS) -> str | None:
    """A header's value, if any database can keep it: printable and not too long."""
    value = value.strip() if value else None
    return value if value and len(value) <= characters and value.isprintable() else None
