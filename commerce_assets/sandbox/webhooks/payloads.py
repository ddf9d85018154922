"""The body of every webhook topic, from the sandbox's documents.

Belongs here: which document each topic is rendered from. Does not belong here: how a body is laid out (the `rest_*`
modules), when a topic is sent (`changes.py`) and how (`delivery.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.webhooks import rest_customers, rest_orders
from commerce_assets.sandbox.webhooks.rest_values import number

if TYPE_CHECKING:
    from commerce_assets.sandbox.store import Store

Extra = Mapping[str, Any]


class PayloadError(LookupError):
    """A topic has no payload here, or lacks what it is made of; the message says which."""


def render(store: Store, shop: Doc, topic: str, before: Doc | None, after: Doc | None, extra: Extra | None = None) -> Doc:
    """The body of a delivery of `topic` (as in `X-Shopify-Topic`), as JSON-able values.

    `before` and `after` are the *root* document as it was and as it is: the order, the customer, the product, the inventory
    level (as `Store.level` gives it), the bulk operation; either may be None. `extra` names what the root does not say:

    * `refunds/create`, `fulfillments/*`, `order_transactions/create`, `inventory_items/*`: `child`, the gid of the part;
    * `customer.tags_added`, `customer.tags_removed`: `tags`, `occurredAt`;
    * `orders/edited`: see `rest_orders.edited_payload`;
    * `customers/redact`, `customers/data_request`: `orders` (numbers) and `request` (the number of a data request).

    Read inside the transaction that changed the document, so that it says what the store says. `PayloadError` where the
    topic is unknown or its document is missing.
    """
    renderer = RENDERERS.get(topic)
    if renderer is None:
        raise PayloadError(f"the sandbox renders no payload for {topic!r}; it knows {', '.join(sorted(RENDERERS))}")
    try:
        return renderer(Change(store, shop, before, after, extra or {}))
    except LookupError as missing:
        raise PayloadError(f"{topic}: {missing}") from missing


def same_body(topic: str) -> str:
    """Topics with one key have one and the same body for one change, so it need be rendered only once."""
    return "orders/*" if topic in ORDER_TOPICS else "customers/*" if topic in CUSTOMER_TOPICS else topic


@dataclass(frozen=True, slots=True)
class Change:
    """What one delivery is about."""

    store: Store
    shop: Doc
    before: Doc | None
    after: Doc | None
    extra: Extra

    @property
    def now(self) -> Doc:
        """The document as it is."""
        if self.after is None:
            raise LookupError("the document as it is now (`after`) was not given")
        return self.after

    @property
    def last(self) -> Doc:
        """The document as it is, or as it was before it was removed."""
        return self.before if self.after is None and self.before is not None else self.now


Renderer = Callable[[Change], Doc]

ORDER_TOPICS = tuple(f"orders/{what}" for what in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled"))
CUSTOMER_TOPICS = ("customers/create", "customers/update")


def _part(payload: Callable[[Store, Doc, Doc, str], Doc]) -> Renderer:
    return lambda change: payload(change.store, change.shop, change.now, change.extra["child"])


RENDERERS: dict[str, Renderer] = {
    **dict.fromkeys(ORDER_TOPICS, lambda change: rest_orders.order_payload(change.store, change.shop, change.now)),
    "orders/edited": lambda change: rest_orders.edited_payload(change.shop, change.last, dict(change.extra)),
    "orders/delete": lambda change: {"id": number(change.last)},
    "refunds/create": _part(rest_orders.refund_payload),
    "fulfillments/create": _part(rest_orders.fulfillment_payload),
    "fulfillments/update": _part(rest_orders.fulfillment_payload),
    "order_transactions/create": _part(rest_orders.transaction_payload),
    **dict.fromkeys(CUSTOMER_TOPICS, lambda change: rest_customers.customer_payload(change.shop, change.now)),
}
