"""How webhook payloads become the contracts' columns: the same rows as a pull of the same order gives (`mapping.py`).

Belongs here: one `FamilyMapping` a family whose payloads say all that a pull would say. Does not belong here: receiving, ordering and
collecting payloads (events), and objects whose payloads lack fields of our contracts (`documents_by_id.py` reads those).

A line is one order with everything that came beside it, every body as it was received:
`{"id": gid, "webhook": …, "topic": …, "order": {…}, "transactions": [{…}], "refunds": [{…}], "fulfillments": [{…}]}`.
Refunds and fulfillments stand in the order's payload and come as events of their own: they are united by id.

What a payload cannot say, and how its rows differ from a pull's:

* `fulfillments.in_transit_at`, `delivered_at`: null; a shipment with a `shipment_status` asks for its order to be read from the shop.
* `fulfillment_lines.fulfillment_line_id`: null where the lines are not derived.
* `refunds.updated_at`: `created_at`.
* `orders.company_name`: null; `company_id` is there.
* `orders.fulfillment_status`: only UNFULFILLED, PARTIALLY_FULFILLED, FULFILLED, RESTOCKED; not ON_HOLD, IN_PROGRESS, SCHEDULED and the like.
* `orders.line_quantity`: the lines' quantities; what an order edit removed counts still (an edited order is read from the shop).
* Transactions name one amount: of an order in another currency than the shop's it is converted by the order's own two totals, to the cent.
* `orders.received_amount`, `refunded_amount`: what the transactions that came add up to.
"""

from pathlib import Path
from typing import Any

from commerce_assets.contracts.mapping import FamilyMapping, LineShape, TableMapping

_FOLDER = Path(__file__).parent / "webhook_mapping"
_TEXT = "VARCHAR"
_NAMED = "admin_graphql_api_id"
_SHOP_AMOUNT = {"shop_money": {"amount": _TEXT}}
_SHOP_MONEY = {"shop_money": {"amount": _TEXT, "currency_code": _TEXT}}
_TAX = {"title": _TEXT, "rate": _TEXT, "price_set": _SHOP_MONEY}


def _texts(*keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys, _TEXT)


_TRANSACTION = _texts(
    "id", _NAMED, "parent_id", "kind", "status", "gateway", "test", "error_code", "amount", "currency", "created_at", "processed_at"
)
_REFUND = {
    **_texts("id", _NAMED, "created_at", "processed_at", "note"),
    "refund_line_items": [
        {
            **_texts("id", _NAMED, "line_item_id", "quantity", "restock_type", "location_id"),
            "line_item": _texts(_NAMED),
            "subtotal_set": _SHOP_MONEY,
            "total_tax_set": _SHOP_AMOUNT,
        }
    ],
    "transactions": [_TRANSACTION],
}
_FULFILLMENT = {
    **_texts("id", _NAMED, "name", "status", "shipment_status", "location_id", "created_at", "updated_at"),
    "line_items": [_texts("id", _NAMED, "quantity")],
}
_ORDER = {
    **_texts("name", "created_at", "processed_at", "updated_at", "cancelled_at", "closed_at", "cancel_reason", "test", "confirmed"),
    **_texts("email", "note", "tags", "source_name", "currency", "presentment_currency", "taxes_included", "total_tip_received"),
    **_texts("financial_status", "fulfillment_status"),
    "customer": _texts("id", _NAMED),
    "company": "JSON",
    "shipping_address": _texts("city", "province_code", "zip", "country_code"),
    "billing_address": _texts("zip", "country_code"),
    "subtotal_price_set": _SHOP_AMOUNT,
    "total_discounts_set": _SHOP_AMOUNT,
    "total_tax_set": _SHOP_AMOUNT,
    "total_price_set": {**_SHOP_AMOUNT, "presentment_money": {"amount": _TEXT}},
    "current_total_price_set": _SHOP_AMOUNT,
    "line_items": [
        {
            **_texts("id", _NAMED, "product_id", "variant_id", "sku", "title", "variant_title", "vendor", "quantity", "current_quantity"),
            **_texts("gift_card", "requires_shipping", "taxable"),
            "price_set": _SHOP_MONEY,
            "discount_allocations": [{"amount_set": _SHOP_AMOUNT}],
            "tax_lines": [_TAX],
        }
    ],
    "discount_applications": [
        _texts("type", "code", "title", "allocation_method", "target_selection", "target_type", "value", "value_type")
    ],
    "shipping_lines": [
        {
            **_texts("id", _NAMED, "title", "code", "source", "is_removed"),
            "price_set": _SHOP_MONEY,
            "discounted_price_set": _SHOP_AMOUNT,
            "tax_lines": [_TAX],
        }
    ],
    "refunds": [_REFUND],
    "fulfillments": [_FULFILLMENT],
}
_NOTICED = frozenset(
    """
    amount_set company current_total_price_set discounted_price_set presentment_money price_set shop_money subtotal_price_set
    subtotal_set total_discounts_set total_price_set total_tax_set
    """.split()  # noqa: SIM905 - reads better than a list of strings
)
"""`company` is the name of a company in addresses, too."""
_ENVELOPE = ("envelope",)

ORDERS = FamilyMapping(
    family="orders",
    shapes=(
        LineShape(
            "envelope",
            ("Order",),
            {"id": _TEXT, "order": _ORDER, "transactions": [_TRANSACTION], "refunds": [_REFUND], "fulfillments": [_FULFILLMENT]},
        ),
    ),
    tables=(
        TableMapping("orders", _ENVELOPE),
        TableMapping("order_lines", _ENVELOPE, nested="line_items"),
        TableMapping("discount_applications", _ENVELOPE, nested="discount_applications"),
        TableMapping("shipping_lines", _ENVELOPE, nested="shipping_lines"),
        TableMapping(
            "tax_lines",
            _ENVELOPE,
            nested="tax_lines",
            owners=(
                ("owner_type = 'order_line'", "owner_id", "order_lines"),
                ("owner_type = 'shipping_line'", "owner_id", "shipping_lines"),
            ),
        ),
        TableMapping("transactions", _ENVELOPE, nested="transactions"),
        TableMapping("refunds", _ENVELOPE, nested="refunds"),
        TableMapping("refund_lines", _ENVELOPE, nested="refund_line_items"),
        TableMapping("fulfillments", _ENVELOPE, nested="fulfillments"),
        TableMapping("fulfillment_lines", _ENVELOPE, nested="fulfillment_line_items"),
    ),
    folder=_FOLDER,
    required=_NOTICED,
    derived_table="fulfillment_lines",
)

WEBHOOK_MAPPINGS: dict[str, FamilyMapping] = {ORDERS.family: ORDERS}
"""Family -> its mapping of payloads."""
