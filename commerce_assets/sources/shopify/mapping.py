"""How Shopify's bulk JSON becomes the contracts' columns: the structures of `queries/*_bulk.graphql`, and the SQL files in `mapping/`.

Belongs here: one `FamilyMapping` a document family. Does not belong here: fetching (streams.py) and landing (lake).
"""

from pathlib import Path
from typing import Any

from commerce_assets.lake.mapping import FamilyMapping, TableMapping

_FOLDER = Path(__file__).parent / "mapping"
_TEXT = "VARCHAR"
_REF = {"id": _TEXT}
_REF_IN_LIST = "JSON"
_AMOUNT = {"amount": _TEXT}
_MONEY = {"amount": _TEXT, "currencyCode": _TEXT}
_SHOP_AMOUNT = {"shopMoney": _AMOUNT}
_SHOP_MONEY = {"shopMoney": _MONEY}
_TAX = {"title": _TEXT, "rate": _TEXT, "priceSet": _SHOP_MONEY}


def _texts(*keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys, _TEXT)


ORDERS = FamilyMapping(
    family="orders",
    root_kinds=("Order",),
    parents={
        **_texts("id", "name", "createdAt", "processedAt", "updatedAt", "cancelledAt", "closedAt", "cancelReason", "test", "confirmed"),
        **_texts("email", "note", "sourceName", "currencyCode", "presentmentCurrencyCode", "taxesIncluded"),
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
                **_texts("id", "name", "createdAt", "updatedAt", "deliveredAt", "inTransitAt", "status", "displayStatus", "totalQuantity"),
                "location": _REF_IN_LIST,
            }
        ],
    },
    children={
        **_texts("id", "__parentId", "__typename", "title", "variantTitle", "sku", "vendor", "quantity", "currentQuantity"),
        **_texts("isGiftCard", "requiresShipping", "taxable", "index", "allocationMethod", "targetSelection", "targetType", "code"),
        **_texts("source", "restockType", "restocked"),
        "product": _REF,
        "variant": _REF,
        "location": _REF,
        "lineItem": _REF,
        "originalUnitPriceSet": _SHOP_MONEY,
        "originalTotalSet": _SHOP_AMOUNT,
        "discountAllocations": [{"allocatedAmountSet": _SHOP_AMOUNT}],
        "taxLines": [_TAX],
        "value": _texts("__typename", "amount", "currencyCode", "percentage"),
        "originalPriceSet": _SHOP_MONEY,
        "discountedPriceSet": _SHOP_AMOUNT,
        "priceSet": _SHOP_MONEY,
        "subtotalSet": _SHOP_AMOUNT,
        "totalTaxSet": _SHOP_AMOUNT,
    },
    tables=(
        TableMapping("orders"),
        TableMapping("order_lines", kinds=("LineItem",)),
        TableMapping(
            "discount_applications",
            kinds=(
                "AutomaticDiscountApplication",
                "DiscountCodeApplication",
                "ManualDiscountApplication",
                "ScriptDiscountApplication",
            ),
        ),
        TableMapping("shipping_lines", kinds=("ShippingLine",)),
        TableMapping(
            "tax_lines",
            nested="taxLines",
            owners=(
                ("owner_type = 'order_line'", "owner_id", "order_lines"),
                ("owner_type = 'shipping_line'", "owner_id", "shipping_lines"),
            ),
        ),
        TableMapping("transactions", nested="transactions"),
        TableMapping("refunds", nested="refunds"),
        TableMapping("refund_lines", kinds=("RefundLineItem",)),
        TableMapping("fulfillments", nested="fulfillments"),
        TableMapping("fulfillment_lines", kinds=("FulfillmentLineItem",)),
    ),
    folder=_FOLDER,
    owned=("refunds", "fulfillments"),
    derives_fulfillment_lines=True,
)

_METAFIELD = _texts("id", "__parentId", "namespace", "key", "type", "value", "updatedAt")

CUSTOMERS = FamilyMapping(
    family="customers",
    root_kinds=("Customer",),
    parents={
        **_texts("id", "firstName", "lastName", "state", "locale", "note", "taxExempt", "verifiedEmail", "createdAt", "updatedAt"),
        **_texts("numberOfOrders"),
        "tags": [_TEXT],
        "amountSpent": _MONEY,
        "defaultEmailAddress": _texts("emailAddress", "marketingState", "marketingOptInLevel", "marketingUpdatedAt"),
        "defaultPhoneNumber": {"phoneNumber": _TEXT, "smsMarketingConsent": _texts("state", "optInLevel", "updatedAt")},
        "defaultAddress": _REF,
    },
    children={
        **_METAFIELD,
        **_texts("firstName", "lastName", "company", "address1", "address2", "city", "provinceCode", "zip", "countryCodeV2", "phone"),
    },
    tables=(
        TableMapping("customers"),
        TableMapping(
            "customer_addresses",
            kinds=("MailingAddress",),
            completed={"is_default": "row.address_id is not distinct from root.default_address_id"},
        ),
        TableMapping("customer_consents", nested=""),
        TableMapping("customer_metafields", kinds=("Metafield",), json_columns=("value",)),
    ),
    folder=_FOLDER,
)

PRODUCTS = FamilyMapping(
    family="products",
    root_kinds=("Product",),
    parents={
        **_texts("id", "title", "handle", "vendor", "productType", "status", "isGiftCard", "createdAt", "updatedAt", "publishedAt"),
        "tags": [_TEXT],
    },
    children={
        **_METAFIELD,
        **_texts("title", "sku", "barcode", "price", "compareAtPrice", "position", "taxable", "inventoryPolicy", "inventoryQuantity"),
        **_texts("createdAt", "alt", "mediaContentType", "status"),
        "inventoryItem": {**_texts("id", "tracked", "requiresShipping"), "unitCost": _MONEY},
        "selectedOptions": [_texts("name", "value")],
    },
    tables=(
        TableMapping("products"),
        TableMapping("variants", kinds=("ProductVariant",), json_columns=("option_values",)),
        TableMapping("product_media", kinds=("MediaImage", "Video", "ExternalVideo", "Model3d")),
        TableMapping("product_metafields", kinds=("Metafield",), json_columns=("value",)),
    ),
    folder=_FOLDER,
)

INVENTORY = FamilyMapping(
    family="inventory",
    root_kinds=("InventoryItem",),
    parents={
        **_texts("id", "sku", "tracked", "requiresShipping", "countryCodeOfOrigin", "harmonizedSystemCode", "createdAt", "updatedAt"),
        "unitCost": _MONEY,
    },
    children={
        **_texts("id", "__parentId", "isActive", "createdAt", "updatedAt"),
        "location": _REF,
        "quantities": [_texts("name", "quantity")],
    },
    tables=(TableMapping("inventory_items"), TableMapping("inventory_levels", kinds=("InventoryLevel",))),
    folder=_FOLDER,
)

LOCATIONS = FamilyMapping(
    family="locations",
    root_kinds=("Location",),
    parents={
        **_texts("id", "name", "isActive", "fulfillsOnlineOrders", "shipsInventory", "createdAt", "updatedAt", "deactivatedAt"),
        "address": _texts("city", "provinceCode", "zip", "countryCode"),
    },
    children=_texts("id", "__parentId"),
    tables=(TableMapping("locations"),),
    folder=_FOLDER,
)

IDS = FamilyMapping(
    family="ids",
    root_kinds=("Order", "Customer", "Product"),
    parents=_texts("id"),
    children=_texts("id", "__parentId"),
    tables=(TableMapping("swept_ids"),),
    folder=_FOLDER,
    version_column="swept_at",
)

MAPPINGS: dict[str, FamilyMapping] = {m.family: m for m in (ORDERS, CUSTOMERS, PRODUCTS, INVENTORY, LOCATIONS, IDS)}
"""Family -> its mapping."""
