"""The order family: an order and everything that hangs on it.

Money is in the shop's currency (Shopify's `shopMoney`), named by `currency_code`. Ids are the numeric part of
Shopify's gids; the gid itself is kept for the tables that are written back to or looked up.
"""

import polars as pl

from commerce_assets.contracts import rules
from commerce_assets.contracts.base import INSTANT, MONEY, TAGS, Contract, field


class Orders(Contract):
    """One row an order, as the storefront last described it."""

    order_id: pl.Int64 = field("Order id (numeric part of the gid).", unique=True, gt=0)
    order_gid: pl.String = field("gid://shopify/Order/{id}.")
    order_name: pl.String = field("The name the merchant and customer see, such as #1001.")
    created_at: INSTANT = field("When the order was created.")
    processed_at: INSTANT = field("When the order was placed, as shown to the customer; for imported orders the original moment.")
    updated_at: INSTANT = field("When anything about the order last changed.")
    cancelled_at: INSTANT = field("When it was cancelled.", nullable=True)
    closed_at: INSTANT = field("When it was closed (archived).", nullable=True)
    cancel_reason: pl.String = field("Why it was cancelled (OrderCancelReason).", nullable=True)
    is_test: pl.Boolean = field("Placed in test mode; not revenue.")
    is_confirmed: pl.Boolean = field("Inventory was reserved for it.")
    customer_id: pl.Int64 = field("Customer id; null for a guest checkout.", nullable=True)
    company_id: pl.Int64 = field("B2B company id.", nullable=True)
    company_name: pl.String = field("B2B company name.", nullable=True)
    email: pl.String = field("Contact e-mail.", nullable=True, pii=True)
    note: pl.String = field("Free text by customer or merchant.", nullable=True, pii=True)
    tags: TAGS = field("Merchant's tags.")
    source_name: pl.String = field("Channel: web, pos, shopify_draft_order, an app.", nullable=True)
    currency_code: pl.String = field("Shop currency of every amount here (ISO 4217).")
    presentment_currency_code: pl.String = field("Currency the customer saw (ISO 4217).")
    is_taxes_included: pl.Boolean = field("Prices include tax.")
    financial_status: pl.String = field("OrderDisplayFinancialStatus.", nullable=True)
    fulfillment_status: pl.String = field("OrderDisplayFulfillmentStatus.")
    line_quantity: pl.Int64 = field("Units over all lines at order time, less removed ones (subtotalLineItemsQuantity).", unit="units")
    subtotal_amount: MONEY = field("Lines after discounts, before tax and shipping.")
    discount_amount: MONEY = field("All discounts, on lines and shipping.")
    tax_amount: MONEY = field("All tax.")
    shipping_amount: MONEY = field("Shipping after shipping discounts.")
    tip_amount: MONEY = field("Tips received.")
    total_amount: MONEY = field("What the order came to when placed or edited, before refunds.")
    presentment_total_amount: MONEY = field("The total in the presentment currency.")
    current_total_amount: MONEY = field("The total after removals and refunds.")
    received_amount: MONEY = field("What was received from the customer.")
    refunded_amount: MONEY = field("What was paid back.")
    shipping_city: pl.String = field("Ship-to city.", nullable=True, pii=True)
    shipping_province_code: pl.String = field("Ship-to province or state.", nullable=True)
    shipping_postal_code: pl.String = field("Ship-to postal code.", nullable=True, pii=True)
    shipping_country_code: pl.String = field("Ship-to country (ISO 3166-1 alpha-2).", nullable=True)
    billing_postal_code: pl.String = field("Bill-to postal code.", nullable=True, pii=True)
    billing_country_code: pl.String = field("Bill-to country (ISO 3166-1 alpha-2).", nullable=True)

    amounts = rules.amount_not_negative(
        "subtotal_amount",
        "discount_amount",
        "tax_amount",
        "shipping_amount",
        "tip_amount",
        "total_amount",
        "presentment_total_amount",
        "received_amount",
        "refunded_amount",
    )
    currency = rules.currency_known("currency_code")
    presentment_currency = rules.presentment_currency_known("presentment_currency_code")
    email_is_one = rules.email_format("email")
    countries = rules.country_known("shipping_country_code", "billing_country_code")
    postal_codes_fit = rules.postal_code_fits_country(
        shipping_postal_code="shipping_country_code", billing_postal_code="billing_country_code"
    )
    texts = rules.no_card_number("note", "tags", "company_name", "shipping_city", "source_name")


class OrderLines(Contract):
    """One row a line item of an order."""

    order_line_id: pl.Int64 = field("Line item id.", unique=True, gt=0)
    order_id: pl.Int64 = field("Order it belongs to.")
    product_id: pl.Int64 = field("Product; null when deleted or custom.", nullable=True)
    variant_id: pl.Int64 = field("Variant; null when deleted or custom.", nullable=True)
    sku: pl.String = field("Stock keeping unit.", nullable=True)
    title: pl.String = field("Title at order time.")
    variant_title: pl.String = field("Variant title at order time.", nullable=True)
    vendor: pl.String = field("Vendor at order time.", nullable=True)
    quantity: pl.Int64 = field("Units ordered.", unit="units")
    current_quantity: pl.Int64 = field("Units after removals and refunds.", unit="units")
    unit_price_amount: MONEY = field("Price of one unit before discounts.")
    gross_amount: MONEY = field("Unit price times quantity, before discounts (originalTotalSet).")
    discount_amount: MONEY = field("Discount allocated to the line.")
    tax_amount: MONEY = field("Tax on the line.")
    currency_code: pl.String = field("Currency of the amounts (ISO 4217).")
    is_gift_card: pl.Boolean = field("The line sells a gift card: a liability, not revenue.")
    is_shippable: pl.Boolean = field("The line needs shipping.")
    is_taxable: pl.Boolean = field("The line is taxable.")

    price = rules.price_not_negative("unit_price_amount", "gross_amount")
    quantities = rules.quantity_not_negative("quantity", "current_quantity")
    currency = rules.currency_known("currency_code")
    texts = rules.no_card_number("title", "variant_title", "vendor")


class DiscountApplications(Contract):
    """One row a discount applied to an order; lines carry what each allocated to them."""

    order_id: pl.Int64 = field("Order it belongs to.")
    discount_index: pl.Int64 = field("Position among the order's discounts; allocations point to it.", unit="index")
    discount_type: pl.String = field(
        "AutomaticDiscountApplication, DiscountCodeApplication, ManualDiscountApplication or ScriptDiscountApplication."
    )
    code: pl.String = field("Discount code.", nullable=True)
    title: pl.String = field("Title of a manual or automatic discount.", nullable=True)
    allocation_method: pl.String = field("ACROSS, EACH or ONE.")
    target_selection: pl.String = field("ALL, ENTITLED or EXPLICIT.")
    target_type: pl.String = field("LINE_ITEM or SHIPPING_LINE.")
    value_type: pl.String = field("MoneyV2 or PricingPercentageValue.")
    value_amount: MONEY = field("Fixed value.", nullable=True)
    value_percentage: pl.Float64 = field("Percentage value, 10.0 for ten per cent.", nullable=True, unit="percent")
    currency_code: pl.String = field("Currency of a fixed value.", nullable=True)

    currency = rules.currency_known("currency_code")
    texts = rules.no_card_number("code", "title")


class TaxLines(Contract):
    """One row a tax charged on a line item or shipping line."""

    order_id: pl.Int64 = field("Order it belongs to.")
    owner_type: pl.String = field("order_line or shipping_line.", isin=["order_line", "shipping_line"])
    owner_id: pl.Int64 = field("Id of the line item or shipping line.")
    tax_index: pl.Int64 = field("Position among the owner's taxes, from 0.", unit="index")
    title: pl.String = field("Name of the tax.")
    rate: pl.Float64 = field("Rate, 0.2 for twenty per cent.", nullable=True, unit="ratio")
    tax_amount: MONEY = field("Tax charged.")
    currency_code: pl.String = field("Currency of the amount (ISO 4217).")

    currency = rules.currency_known("currency_code")


class ShippingLines(Contract):
    """One row a shipping method charged on an order."""

    shipping_line_id: pl.Int64 = field("Shipping line id.", unique=True, gt=0)
    order_id: pl.Int64 = field("Order it belongs to.")
    title: pl.String = field("Method shown to the customer.")
    code: pl.String = field("Code of the method.", nullable=True)
    source: pl.String = field("Who quoted it.", nullable=True)
    gross_amount: MONEY = field("Price before discounts.")
    net_amount: MONEY = field("Price after discounts.")
    tax_amount: MONEY = field("Tax on shipping.")
    currency_code: pl.String = field("Currency of the amounts (ISO 4217).")

    price = rules.price_not_negative("gross_amount", "net_amount")
    currency = rules.currency_known("currency_code")
    texts = rules.no_card_number("title", "code")


class Transactions(Contract):
    """One row a payment transaction: authorisation, capture, sale, refund, void."""

    transaction_id: pl.Int64 = field("Transaction id.", unique=True, gt=0)
    order_id: pl.Int64 = field("Order it belongs to.")
    parent_transaction_id: pl.Int64 = field("The transaction it follows, such as the sale that a refund pays back.", nullable=True)
    kind: pl.String = field("OrderTransactionKind.")
    status: pl.String = field("OrderTransactionStatus.")
    gateway: pl.String = field("Payment gateway.", nullable=True)
    is_test: pl.Boolean = field("A test transaction.")
    error_code: pl.String = field("OrderTransactionErrorCode.", nullable=True)
    amount: MONEY = field("Amount; positive for every kind.")
    currency_code: pl.String = field("Currency of the amount (ISO 4217).")
    created_at: INSTANT = field("When it was created.")
    processed_at: INSTANT = field("When it was processed.", nullable=True)

    amounts = rules.amount_not_negative("amount")
    currency = rules.currency_known("currency_code")


class Refunds(Contract):
    """One row a refund of an order; booked on the day it happened."""

    refund_id: pl.Int64 = field("Refund id.", unique=True, gt=0)
    order_id: pl.Int64 = field("Order it belongs to.")
    created_at: INSTANT = field("When it was created.")
    processed_at: INSTANT = field("When it happened; the day it is booked on.")
    updated_at: INSTANT = field("When it last changed.")
    note: pl.String = field("Reason given.", nullable=True, pii=True)
    refunded_amount: MONEY = field("What was paid back.")
    currency_code: pl.String = field("Currency of the amount (ISO 4217).")

    amounts = rules.amount_not_negative("refunded_amount")
    currency = rules.currency_known("currency_code")
    texts = rules.no_card_number("note")


class RefundLines(Contract):
    """One row a line item given back in a refund."""

    refund_line_id: pl.Int64 = field("Refund line item id.", unique=True, gt=0)
    refund_id: pl.Int64 = field("Refund it belongs to.")
    order_id: pl.Int64 = field("Order it belongs to.")
    order_line_id: pl.Int64 = field("Line item given back.")
    quantity: pl.Int64 = field("Units given back.", unit="units")
    restock_type: pl.String = field("RefundLineItemRestockType: RETURN, CANCEL, NO_RESTOCK, LEGACY_RESTOCK.")
    is_restocked: pl.Boolean = field("Units went back to stock.")
    location_id: pl.Int64 = field("Where they went back to.", nullable=True)
    subtotal_amount: MONEY = field("Value given back before tax, after discounts.")
    tax_amount: MONEY = field("Tax given back.")
    currency_code: pl.String = field("Currency of the amounts (ISO 4217).")

    quantities = rules.quantity_not_negative("quantity")
    amounts = rules.amount_not_negative("subtotal_amount", "tax_amount")
    currency = rules.currency_known("currency_code")


class Fulfillments(Contract):
    """One row a shipment."""

    fulfillment_id: pl.Int64 = field("Fulfillment id.", unique=True, gt=0)
    order_id: pl.Int64 = field("Order it belongs to.")
    fulfillment_name: pl.String = field("Name, such as #1001.1.")
    status: pl.String = field("FulfillmentStatus.")
    display_status: pl.String = field("FulfillmentDisplayStatus.", nullable=True)
    quantity: pl.Int64 = field("Units shipped.", unit="units")
    location_id: pl.Int64 = field("Location shipped from.", nullable=True)
    created_at: INSTANT = field("When it was created.")
    updated_at: INSTANT = field("When it last changed.")
    in_transit_at: INSTANT = field("When the carrier had it.", nullable=True)
    delivered_at: INSTANT = field("When it was delivered.", nullable=True)

    quantities = rules.quantity_not_negative("quantity")


class FulfillmentLines(Contract):
    """One row a line item in a shipment. Derived from the order's lines where a shipment holds the whole order (docs/decisions)."""

    fulfillment_id: pl.Int64 = field("Shipment it belongs to.")
    order_id: pl.Int64 = field("Order it belongs to.")
    order_line_id: pl.Int64 = field("Line item shipped.")
    fulfillment_line_id: pl.Int64 = field("Fulfillment line item id; null where the row is derived.", nullable=True)
    quantity: pl.Int64 = field("Units shipped.", unit="units")
    is_derived: pl.Boolean = field("The shipment held the whole order, so this row follows from the order's lines.")

    quantities = rules.quantity_not_negative("quantity")
