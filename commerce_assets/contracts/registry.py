"""THE registry: every table the lake holds, by family. Dagster column schemas, dbt sources and drift tests read it."""

from commerce_assets.contracts import customers, deletions, inventory, orders, products
from commerce_assets.contracts.base import TableContract

_ORDER = (("order_id", "orders", "order_id"),)
_CUSTOMER = (("customer_id", "customers", "customer_id"),)
_PRODUCT = (("product_id", "products", "product_id"),)

TABLES: tuple[TableContract, ...] = (
    TableContract("orders", "orders", orders.Orders, ("order_id",), "order_id"),
    TableContract("order_lines", "orders", orders.OrderLines, ("order_line_id",), "order_id", _ORDER),
    TableContract("discount_applications", "orders", orders.DiscountApplications, ("order_id", "discount_index"), "order_id", _ORDER),
    TableContract("shipping_lines", "orders", orders.ShippingLines, ("shipping_line_id",), "order_id", _ORDER),
    TableContract("tax_lines", "orders", orders.TaxLines, ("owner_type", "owner_id", "tax_index"), "order_id", _ORDER),
    TableContract("transactions", "orders", orders.Transactions, ("transaction_id",), "order_id", _ORDER),
    TableContract("refunds", "orders", orders.Refunds, ("refund_id",), "order_id", _ORDER),
    TableContract(
        "refund_lines",
        "orders",
        orders.RefundLines,
        ("refund_line_id",),
        "order_id",
        (*_ORDER, ("refund_id", "refunds", "refund_id"), ("order_line_id", "order_lines", "order_line_id")),
    ),
    TableContract("fulfillments", "orders", orders.Fulfillments, ("fulfillment_id",), "order_id", _ORDER),
    TableContract(
        "fulfillment_lines",
        "orders",
        orders.FulfillmentLines,
        ("fulfillment_id", "order_line_id"),
        "order_id",
        (*_ORDER, ("fulfillment_id", "fulfillments", "fulfillment_id"), ("order_line_id", "order_lines", "order_line_id")),
    ),
    TableContract("customers", "customers", customers.Customers, ("customer_id",), "customer_id"),
    TableContract("customer_addresses", "customers", customers.CustomerAddresses, ("address_id",), "customer_id", _CUSTOMER),
    TableContract("customer_consents", "customers", customers.CustomerConsents, ("customer_id", "channel"), "customer_id", _CUSTOMER),
    TableContract("customer_metafields", "customers", customers.CustomerMetafields, ("metafield_id",), "customer_id", _CUSTOMER),
    TableContract("products", "products", products.Products, ("product_id",), "product_id"),
    TableContract("variants", "products", products.Variants, ("variant_id",), "product_id", _PRODUCT),
    TableContract("product_media", "products", products.ProductMedia, ("product_id", "media_id"), "product_id", _PRODUCT),
    TableContract("product_metafields", "products", products.ProductMetafields, ("metafield_id",), "product_id", _PRODUCT),
    TableContract("inventory_items", "inventory", inventory.InventoryItems, ("inventory_item_id",), "inventory_item_id"),
    TableContract(
        "inventory_levels",
        "inventory",
        inventory.InventoryLevels,
        ("inventory_item_id", "location_id"),
        "inventory_item_id",
        (("inventory_item_id", "inventory_items", "inventory_item_id"),),
    ),
    TableContract("locations", "locations", inventory.Locations, ("location_id",), "location_id"),
    TableContract("swept_ids", "ids", inventory.SweptIds, ("object_type", "object_id"), "object_id"),
    TableContract("deleted_ids", "deletions", deletions.DeletedIds, ("object_type", "object_id"), "object_id"),
)
"""Parents stand before their children."""


def table(name: str) -> TableContract:
    """The contract of the table `name`; `KeyError` names the known ones."""
    for contract in TABLES:
        if contract.name == name:
            return contract
    raise KeyError(f"no contract for table {name!r}; known: {', '.join(t.name for t in TABLES)}")


def family(name: str) -> tuple[TableContract, ...]:
    """The tables of a document family, parents first; `KeyError` when there is none."""
    found = tuple(contract for contract in TABLES if contract.family == name)
    if not found:
        raise KeyError(f"no family {name!r}; known: {', '.join(sorted({t.family for t in TABLES}))}")
    return found
