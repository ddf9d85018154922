{#-
    What staging must know of the lake's tables: the key, the root document's id, and the kind of object by which a sweep
    or an event tells of deletions. It repeats commerce_assets/contracts/registry.py; a test keeps the two in agreement.
-#}
{% macro lake_table(name) -%}
    {%- set tables = {
        "orders": {"key": ["order_id"], "root": "orders", "root_id": "order_id", "swept_as": "order"},
        "order_lines": {"key": ["order_line_id"], "root": "orders", "root_id": "order_id"},
        "discount_applications": {
            "key": ["order_id", "discount_index"],
            "root": "orders",
            "root_id": "order_id",
        },
        "shipping_lines": {"key": ["shipping_line_id"], "root": "orders", "root_id": "order_id"},
        "tax_lines": {
            "key": ["owner_type", "owner_id", "tax_index"],
            "root": "orders",
            "root_id": "order_id",
        },
        "transactions": {"key": ["transaction_id"], "root": "orders", "root_id": "order_id"},
        "refunds": {"key": ["refund_id"], "root": "orders", "root_id": "order_id"},
        "refund_lines": {"key": ["refund_line_id"], "root": "orders", "root_id": "order_id"},
        "fulfillments": {"key": ["fulfillment_id"], "root": "orders", "root_id": "order_id"},
        "fulfillment_lines": {
            "key": ["fulfillment_id", "order_line_id"],
            "root": "orders",
            "root_id": "order_id",
        },
        "customers": {
            "key": ["customer_id"],
            "root": "customers",
            "root_id": "customer_id",
            "swept_as": "customer",
        },
        "customer_addresses": {"key": ["address_id"], "root": "customers", "root_id": "customer_id"},
        "customer_consents": {
            "key": ["customer_id", "channel"],
            "root": "customers",
            "root_id": "customer_id",
        },
        "customer_metafields": {"key": ["metafield_id"], "root": "customers", "root_id": "customer_id"},
        "products": {
            "key": ["product_id"],
            "root": "products",
            "root_id": "product_id",
            "swept_as": "product",
        },
        "variants": {"key": ["variant_id"], "root": "products", "root_id": "product_id"},
        "product_media": {"key": ["product_id", "media_id"], "root": "products", "root_id": "product_id"},
        "product_metafields": {"key": ["metafield_id"], "root": "products", "root_id": "product_id"},
        "inventory_items": {
            "key": ["inventory_item_id"],
            "root": "inventory_items",
            "root_id": "inventory_item_id",
        },
        "inventory_levels": {
            "key": ["inventory_item_id", "location_id", "snapshot_on"],
            "root": "inventory_levels",
            "root_id": "inventory_item_id",
            "is_snapshot": true,
        },
        "deleted_ids": {"key": ["object_type", "object_id"], "root": "deleted_ids", "root_id": "object_id"},
        "swept_ids": {"key": ["object_type", "object_id"], "root": "swept_ids", "root_id": "object_id"},
        "locations": {"key": ["location_id"], "root": "locations", "root_id": "location_id"},
    } -%}
    {{ return(tables[name]) }}
{%- endmacro %}
