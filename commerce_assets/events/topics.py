"""What each webhook topic is about: its lane, the object it names, and how much of the truth it carries.

Belongs here: the one table of topics. Does not belong here: what is done about them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Carries(StrEnum):
    """How much of the object an event brings along."""

    WHOLE = "whole"
    """The payload says all that a pull would say."""
    PART = "part"
    """A child of an object: a transaction, refund or fulfillment of an order."""
    NOTICE = "notice"
    """Something changed; the object is to be read from the storefront."""
    DELETION = "deletion"
    """The object is gone."""
    COMPLIANCE = "compliance"
    """A duty about people's data: queued for the privacy room."""
    CONTROL = "control"
    """About the app, the shop or a job; acknowledged and kept."""
    STOCK = "stock"
    """A stock fact from a warehouse system."""


@dataclass(frozen=True)
class Topic:
    """One topic: `object_type` as in gids; `id_key` and `owner_key` are keys of the payload."""

    name: str
    lane: str
    carries: Carries
    object_type: str
    id_key: str = "id"
    owner_key: str | None = None
    """Of a part: the key that names the order."""
    version_key: str = "updated_at"
    is_subscribable: bool = True
    """Compliance topics are configured with the app, not subscribed to."""

    @property
    def enum(self) -> str:
        """The name as GraphQL's WebhookSubscriptionTopic has it."""
        return self.name.replace("/", "_").replace(".", "_").upper()


_WHOLE, _PART, _NOTICE, _DELETION, _COMPLIANCE, _CONTROL = (
    Carries.WHOLE,
    Carries.PART,
    Carries.NOTICE,
    Carries.DELETION,
    Carries.COMPLIANCE,
    Carries.CONTROL,
)

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        *(
            Topic(f"orders/{what}", "orders", _WHOLE, "Order")
            for what in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled")
        ),
        Topic("orders/edited", "orders", _NOTICE, "Order", id_key="order_edit.order_id", version_key="order_edit.committed_at"),
        Topic("orders/delete", "orders", _DELETION, "Order"),
        Topic("refunds/create", "orders", _PART, "Refund", owner_key="order_id", version_key="created_at"),
        Topic("fulfillments/create", "orders", _PART, "Fulfillment", owner_key="order_id"),
        Topic("fulfillments/update", "orders", _PART, "Fulfillment", owner_key="order_id"),
        Topic("order_transactions/create", "orders", _PART, "OrderTransaction", owner_key="order_id", version_key="processed_at"),
        Topic("customers/create", "customers", _NOTICE, "Customer"),
        Topic("customers/update", "customers", _NOTICE, "Customer"),
        Topic("customer.tags_added", "customers", _NOTICE, "Customer", id_key="customerId", version_key="occurredAt"),
        Topic("customer.tags_removed", "customers", _NOTICE, "Customer", id_key="customerId", version_key="occurredAt"),
        Topic("customers/delete", "customers", _DELETION, "Customer"),
        Topic("products/create", "products", _NOTICE, "Product"),
        Topic("products/update", "products", _NOTICE, "Product"),
        Topic("products/delete", "products", _DELETION, "Product"),
        *(
            Topic(f"inventory_levels/{what}", "inventory", _NOTICE, "InventoryItem", id_key="inventory_item_id")
            for what in ("update", "connect", "disconnect")
        ),
        Topic("inventory_items/create", "inventory", _NOTICE, "InventoryItem"),
        Topic("inventory_items/update", "inventory", _NOTICE, "InventoryItem"),
        Topic("inventory_items/delete", "inventory", _CONTROL, "InventoryItem"),
        Topic("customers/redact", "compliance", _COMPLIANCE, "Customer", id_key="customer.id", is_subscribable=False),
        Topic("customers/data_request", "compliance", _COMPLIANCE, "Customer", id_key="customer.id", is_subscribable=False),
        Topic("shop/redact", "compliance", _COMPLIANCE, "Shop", id_key="shop_id", is_subscribable=False),
        Topic("app/uninstalled", "control", _CONTROL, "Shop"),
        Topic("bulk_operations/finish", "control", _CONTROL, "BulkOperation", id_key="admin_graphql_api_id", version_key="completed_at"),
        # Our own, never subscribed to: what a reconciliation found, and what a warehouse system reports.
        *(
            Topic(f"reconcile/{kind.lower()}", lane, _NOTICE, kind, is_subscribable=False)
            for kind, lane in (("Order", "orders"), ("Customer", "customers"), ("Product", "products"), ("InventoryItem", "inventory"))
        ),
        Topic("wms/stock", "stock", Carries.STOCK, "StockFact", version_key="occurred_at", is_subscribable=False),
    )
}
"""Topic name as in `X-Shopify-Topic` -> what it means."""

LANES = ("orders", "customers", "products", "inventory", "stock", "compliance", "control")
"""A failing lane never blocks another."""
