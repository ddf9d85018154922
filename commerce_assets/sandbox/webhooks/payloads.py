"""The body of every webhook topic, from the sandbox's documents.

Belongs here: which document each topic is rendered from. Does not belong here: how a body is laid out (the `rest_*`
modules), when a topic is sent (`changes.py`) and how (`delivery.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.webhooks import rest_catalogue, rest_customers, rest_orders, rest_shop
from commerce_assets.sandbox.webhooks.rest_values import number

if TYPE_CHECKING:
    from commerce_assets.sandbox.store import Store

Extra = Mapping[str, Any]


class PayloadError(LookupError):
    """A topic has no payload here, or lacks what it is made of; the message says which."""


def render(store: Store, shop: Doc, topic: str, before: Any, after: Any, extra: Extra | None = None) -> Doc:
    """The body of a delivery of `topic` (as in `X-Shopify-Topic`), as JSON-able values.

    `before` and `after` are the document as it was and as it is; either may be None. It is the order (also for its parts),
    the customer, the product, the inventory item, the inventory level (as `Store.level` gives it), the bulk operation.
    `extra` names what the document does not say:

    * `refunds/create`, `fulfillments/*`, `order_transactions/create`: the part itself (its `id` is enough);
    * `customer.tags_added`, `customer.tags_removed`: `tags`, `occurredAt`;
    * `orders/edited`: see `rest_orders.edited_payload`;
    * `customers/redact`, `customers/data_request`: `orders` (their numbers) and `request` (the number of a data request).

    Call it inside the transaction that changed the document, so that it says what the store says. `PayloadError` where the
    topic is unknown or something it needs is missing.
    """
    renderer = RENDERERS.get(topic)
    if renderer is None:
        raise PayloadError(f"the sandbox renders no payload for {topic!r}; it knows {', '.join(sorted(RENDERERS))}")
    try:
        return renderer(Subject(store, shop, before, after, extra or {}))
    except LookupError as missing:
        raise PayloadError(f"{topic}: {missing}") from missing


@dataclass(frozen=True, slots=True)
class Subject:
    """What one delivery is about."""

    store: Store
    shop: Doc
    before: Any
    after: Any
    extra: Extra

    @property
    def now(self) -> Any:
        """The document as it is."""
        if self.after is None:
            raise LookupError("the document as it is now (`after`) was not given")
        return self.after

    @property
    def last(self) -> Any:
        """The document as it is, or as it was before it was removed."""
        return self.before if self.after is None and self.before is not None else self.now


Renderer = Callable[[Subject], Doc]

ORDER_TOPICS = tuple(f"orders/{what}" for what in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled"))


def _part(payload: Callable[[Store, Doc, Doc, str], Doc]) -> Renderer:
    return lambda subject: payload(subject.store, subject.shop, subject.now, subject.extra["id"])


def _deleted_customer(subject: Subject) -> Doc:
    customer = subject.last
    return {"id": number(customer), "tax_exemptions": [], "admin_graphql_api_id": customer["id"]}


def _tags(subject: Subject) -> Doc:
    return {
        "customerId": subject.last["id"],
        "tags": list(subject.extra["tags"]),
        "occurredAt": subject.extra["occurredAt"],
    }


RENDERERS: dict[str, Renderer] = {
    **dict.fromkeys(ORDER_TOPICS, lambda subject: rest_orders.order_payload(subject.store, subject.shop, subject.now)),
    "orders/edited": lambda subject: rest_orders.edited_payload(subject.shop, subject.last, dict(subject.extra)),
    "orders/delete": lambda subject: {"id": number(subject.last)},
    "refunds/create": _part(rest_orders.refund_payload),
    "fulfillments/create": _part(rest_orders.fulfillment_payload),
    "fulfillments/update": _part(rest_orders.fulfillment_payload),
    "order_transactions/create": _part(rest_orders.transaction_payload),
    **dict.fromkeys(("customers/create", "customers/update"), lambda subject: rest_customers.customer_payload(subject.shop, subject.now)),
    "customers/delete": _deleted_customer,
    "customer.tags_added": _tags,
    "customer.tags_removed": _tags,
    **dict.fromkeys(
        ("products/create", "products/update"),
        lambda subject: rest_catalogue.product_payload(subject.store, subject.shop, subject.now),
    ),
    "products/delete": lambda subject: {"id": number(subject.last)},
    **dict.fromkeys(
        ("inventory_items/create", "inventory_items/update"),
        lambda subject: rest_catalogue.inventory_item_payload(subject.shop, subject.now),
    ),
    "inventory_items/delete": lambda subject: rest_catalogue.deleted_inventory_item_payload(subject.last),
    **dict.fromkeys(
        ("inventory_levels/update", "inventory_levels/connect"),
        lambda subject: rest_catalogue.inventory_level_payload(subject.shop, subject.now),
    ),
    "inventory_levels/disconnect": lambda subject: rest_catalogue.disconnected_level_payload(subject.last),
    "bulk_operations/finish": lambda subject: rest_shop.bulk_operation_payload(subject.shop, subject.now),
    "app/uninstalled": lambda subject: rest_shop.shop_payload(subject.shop),
    "customers/redact": lambda subject: rest_shop.redact_payload(subject.shop, subject.last, subject.extra["orders"]),
    "customers/data_request": lambda subject: rest_shop.data_request_payload(
        subject.shop, subject.last, subject.extra["orders"], subject.extra["request"]
    ),
    "shop/redact": lambda subject: rest_shop.shop_redact_payload(subject.shop),
}
"""Topic -> how its body is made."""
