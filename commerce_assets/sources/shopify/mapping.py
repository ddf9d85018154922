"""How Shopify's bulk JSON becomes the contracts' columns: the structures of `queries/*_bulk.graphql`, and the SQL files in `mapping/`.

Belongs here: one `FamilyMapping` a document family. Does not belong here: fetching (streams.py) and landing (lake).
"""

from pathlib import Path
from typing import Any

from commerce_assets.contracts.mapping import FamilyMapping, LineShape, TableMapping

_FOLDER = Path(__file__).parent / "mapping"
_TEXT = "VARCHAR"
_REF = {"id": _TEXT}
_REF_IN_LIST = "JSON"
_AMOUNT = {"amount": _TEXT}
_MONEY = {"amount": _TEXT, "currencyCode": _TEXT}
_SHOP_AMOUNT = {"shopMoney": _AMOUNT}
_SHOP_MONEY = {"shopMoney": _MONEY}
_TAX = {"title": _TEXT, "rate": _TEXT, "priceSet": _SHOP_MONEY}
_MONEY_BAGS = frozenset(
    """
    allocatedAmountSet amountSet currentTotalPriceSet discountedPriceSet originalPriceSet originalTotalSet originalUnitPriceSet
    presentmentMoney priceSet shopMoney subtotalPriceSet subtotalSet totalDiscountsSet totalPriceSet totalReceivedSet
    totalRefundedSet totalShippingPriceSet totalTaxSet totalTipReceivedSet
    """.split()  # noqa: SIM905 - reads better than a list of strings
)


def _texts(*keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys, _TEXT)


ORDERS = FamilyMapping(
    family="orders",
    shapes=(
        LineShape(
            "order",
            ("Order",),
            {
                **_texts("id", "name", "createdAt", "processedAt", "updatedAt", "cancelledAt", "closedAt", "cancelReason"),
                **_texts("test", "confirmed", "email", "note", "sourceName", "currencyCode", "presentmentCurrencyCode", "taxesIncluded"),
                **_texts("displayFinancialStatus", "displayFulfillmentStatus", "subtotalLineItemsQuantity"),
                "tags": [_TEXT],
                "customer": _REF,
                "purchasingEntity": {"company": _texts("id", "name")},
                "shippingAddress": _texts("city", "provinceCode", "zip", "countryCodeV2"),
                "billingAddress": _texts("zip", "countryCodeV2"),
                "subtotalPriceSet": _SHOP_AMOUNT,
                "totalDiscountsSet": _SHOP_AMOUNT,
                "totalTaxSet": _SHOP_AMOUNT,
                "totalShippingPriceSet": _SHOP_AMOUNT,
                "totalTipReceivedSet": _SHOP_AMOUNT,
                "totalPriceSet": {"shopMoney": _AMOUNT, "presentmentMoney": _AMOUNT},
                "currentTotalPriceSet": _SHOP_AMOUNT,
                "totalReceivedSet": _SHOP_AMOUNT,
                "totalRefundedSet": _SHOP_AMOUNT,
                "transactions": [
                    {
                        **_texts("id", "kind", "status", "gateway", "test", "createdAt", "processedAt", "errorCode"),
                        "parentTransaction": _REF_IN_LIST,
                        "amountSet": _SHOP_MONEY,
                    }
                ],
                "refunds": [{**_texts("id", "createdAt", "processedAt", "updatedAt", "note"), "totalRefundedSet": _SHOP_MONEY}],
                "fulfillments": [
                    {
                        **_texts("id", "name", "createdAt", "updatedAt", "deliveredAt", "inTransitAt", "status", "displayStatus"),
                        **_texts("totalQuantity"),
                        "location": _REF_IN_LIST,
                    }
                ],
            },
        ),
        LineShape(
            "line_item",
            ("LineItem",),
            {
                **_texts("id", "__parentId", "title", "variantTitle", "sku", "vendor", "quantity", "currentQuantity"),
                **_texts("isGiftCard", "requiresShipping", "taxable"),
                "product": _REF,
                "variant": _REF,
                "originalUnitPriceSet": _SHOP_MONEY,
                "originalTotalSet": _SHOP_AMOUNT,
                "discountAllocations": [{"allocatedAmountSet": _SHOP_AMOUNT}],
                "taxLines": [_TAX],
            },
        ),
        LineShape(
            "discount_application",
            ("AutomaticDiscountApplication", "DiscountCodeApplication", "ManualDiscountApplication", "ScriptDiscountApplication"),
            {
                **_texts("__parentId", "__typename", "index", "allocationMethod", "targetSelection", "targetType", "code", "title"),
                "value": _texts("__typename", "amount", "currencyCode", "percentage"),
            },
        ),
        LineShape(
            "shipping_line",
            ("ShippingLine",),
            {
                **_texts("id", "__parentId", "title", "code", "source"),
                "originalPriceSet": _SHOP_MONEY,
                "discountedPriceSet": _SHOP_AMOUNT,
                "taxLines": [_TAX],
            },
        ),
        LineShape(
            "refund_line_item",
            ("RefundLineItem",),
            {
                **_texts("id", "__parentId", "quantity", "restockType", "restocked"),
                "location": _REF,
                "lineItem": _REF,
                "priceSet": _SHOP_MONEY,
                "subtotalSet": _SHOP_AMOUNT,
                "totalTaxSet": _SHOP_AMOUNT,
            },
        ),
        LineShape("fulfillment_line_item", ("FulfillmentLineItem",), {**_texts("id", "__parentId", "quantity"), "lineItem": _REF}),
    ),
    tables=(
        TableMapping("orders", ("order",)),
        TableMapping("order_lines", ("line_item",)),
        TableMapping("discount_applications", ("discount_application",)),
        TableMapping("shipping_lines", ("shipping_line",)),
        TableMapping(
            "tax_lines",
            ("line_item", "shipping_line"),
            nested="taxLines",
            owners=(
                ("owner_type = 'order_line'", "owner_id", "order_lines"),
                ("owner_type = 'shipping_line'", "owner_id", "shipping_lines"),
            ),
        ),
        TableMapping("transactions", ("order",), nested="transactions"),
        TableMapping("refunds", ("order",), nested="refunds"),
        TableMapping("refund_lines", ("refund_line_item",)),
        TableMapping("fulfillments", ("order",), nested="fulfillments"),
        TableMapping("fulfillment_lines", ("fulfillment_line_item",)),
    ),
    folder=_FOLDER,
    owned=("refunds", "fulfillments"),
    required=_MONEY_BAGS,
    derived_table="fulfillment_lines",
)

_METAFIELD = LineShape("metafield", ("Metafield",), _texts("id", "__parentId", "namespace", "key", "type", "value", "updatedAt"))

CUSTOMERS = FamilyMapping(
    family="customers",
    shapes=(
        LineShape(
            "customer",
            ("Customer",),
            {
                **_texts("id", "firstName", "lastName", "state", "locale", "note", "taxExempt", "verifiedEmail", "createdAt", "updatedAt"),
                **_texts("numberOfOrders"),
                "tags": [_TEXT],
                "amountSpent": _MONEY,
                "defaultEmailAddress": _texts("emailAddress", "marketingState", "marketingOptInLevel", "marketingUpdatedAt"),
                "defaultPhoneNumber": {"phoneNumber": _TEXT, "smsMarketingConsent": _texts("state", "optInLevel", "updatedAt")},
                "defaultAddress": _REF,
            },
        ),
        LineShape(
            "mailing_address",
            ("MailingAddress",),
            {
                **_texts("id", "__parentId", "firstName", "lastName", "company", "address1", "address2", "city"),
                **_texts("provinceCode", "zip", "countryCodeV2", "phone"),
            },
        ),
        _METAFIELD,
    ),
    tables=(
        TableMapping("customers", ("customer",)),
        TableMapping(
            "customer_addresses",
            ("mailing_address",),
            completed={"is_default": "row.address_id is not distinct from root.default_address_id"},
        ),
        TableMapping("customer_consents", ("customer",), nested=""),
        TableMapping("customer_metafields", ("metafield",), json_columns=("value",)),
    ),
    folder=_FOLDER,
)

PRODUCTS = FamilyMapping(
    family="products",
    shapes=(
        LineShape(
            "product",
            ("Product",),
            {
                **_texts("id", "title", "handle", "vendor", "productType", "status", "isGiftCard", "createdAt", "updatedAt", "publishedAt"),
                "tags": [_TEXT],
            },
        ),
        LineShape(
            "product_variant",
            ("ProductVariant",),
            {
                **_texts("id", "__parentId", "title", "sku", "barcode", "price", "compareAtPrice", "position", "taxable"),
                **_texts("inventoryPolicy", "inventoryQuantity", "createdAt", "updatedAt"),
                "inventoryItem": {**_texts("id", "tracked", "requiresShipping"), "unitCost": _MONEY},
                "selectedOptions": [_texts("name", "value")],
            },
        ),
        LineShape(
            "media", ("MediaImage", "Video", "ExternalVideo", "Model3d"), _texts("id", "__parentId", "alt", "mediaContentType", "status")
        ),
        _METAFIELD,
    ),
    tables=(
        TableMapping("products", ("product",)),
        TableMapping("variants", ("product_variant",), json_columns=("option_values",)),
        TableMapping("product_media", ("media",)),
        TableMapping("product_metafields", ("metafield",), json_columns=("value",)),
    ),
    folder=_FOLDER,
)

INVENTORY = FamilyMapping(
    family="inventory",
    shapes=(
        LineShape(
            "inventory_item",
            ("InventoryItem",),
            {
                **_texts(
                    "id", "sku", "tracked", "requiresShipping", "countryCodeOfOrigin", "harmonizedSystemCode", "createdAt", "updatedAt"
                ),
                "unitCost": _MONEY,
            },
        ),
        LineShape(
            "inventory_level",
            ("InventoryLevel",),
            {
                **_texts("id", "__parentId", "isActive", "createdAt", "updatedAt"),
                "location": _REF,
                "quantities": [_texts("name", "quantity")],
            },
        ),
    ),
    tables=(TableMapping("inventory_items", ("inventory_item",)), TableMapping("inventory_levels", ("inventory_level",))),
    folder=_FOLDER,
)

LOCATIONS = FamilyMapping(
    family="locations",
    shapes=(
        LineShape(
            "location",
            ("Location",),
            {
                **_texts("id", "name", "isActive", "fulfillsOnlineOrders", "shipsInventory", "createdAt", "updatedAt", "deactivatedAt"),
                "address": _texts("city", "provinceCode", "zip", "countryCode"),
            },
        ),
    ),
    tables=(TableMapping("locations", ("location",)),),
    folder=_FOLDER,
)

IDS = FamilyMapping(
    family="ids",
    shapes=(LineShape("swept", ("Order", "Customer", "Product"), _texts("id")),),
    tables=(TableMapping("swept_ids", ("swept",)),),
    folder=_FOLDER,
    version_column="swept_at",
)

DELETIONS = FamilyMapping(
    family="deletions",
    shapes=(LineShape("deletion", ("Order", "Customer", "Product"), _texts("id", "deletedAt")),),
    tables=(TableMapping("deleted_ids", ("deletion",)),),
    folder=_FOLDER,
    version_column="deleted_at",
)
"""Of our own making: one line a deletion that an event told of, `{"id": "gid://shopify/Order/1", "deletedAt": "…"}`."""

MAPPINGS: dict[str, FamilyMapping] = {
    mapping.family: mapping for mapping in (ORDERS, CUSTOMERS, PRODUCTS, INVENTORY, LOCATIONS, IDS, DELETIONS)
}
"""Family -> its mapping."""
