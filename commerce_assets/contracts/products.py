"""The product family: a product, its variants, media and metafields."""

import polars as pl

from commerce_assets.contracts import rules
from commerce_assets.contracts.base import INSTANT, MONEY, TAGS, Contract, field


class Products(Contract):
    """One row a product."""

    product_id: pl.Int64 = field("Product id (numeric part of the gid).", unique=True, gt=0)
    product_gid: pl.String = field("gid://shopify/Product/{id}.")
    title: pl.String = field("Title.")
    handle: pl.String = field("URL handle.")
    vendor: pl.String = field("Vendor.")
    product_type: pl.String = field("Merchant's product type.")
    status: pl.String = field("ProductStatus: ACTIVE, ARCHIVED, DRAFT, UNLISTED.")
    is_gift_card: pl.Boolean = field("Sells gift cards.")
    tags: TAGS = field("Merchant's tags.")
    created_at: INSTANT = field("When it was created.")
    updated_at: INSTANT = field("When anything about it last changed.")
    published_at: INSTANT = field("When it was published to the online store.", nullable=True)

    texts = rules.no_card_number("title", "vendor", "product_type", "tags")


class Variants(Contract):
    """One row a variant: what is sold, priced and stocked."""

    variant_id: pl.Int64 = field("Variant id.", unique=True, gt=0)
    variant_gid: pl.String = field("gid://shopify/ProductVariant/{id}.")
    product_id: pl.Int64 = field("Product it belongs to.")
    inventory_item_id: pl.Int64 = field("Inventory item it is stocked as.")
    title: pl.String = field("Title.")
    sku: pl.String = field("Stock keeping unit.", nullable=True)
    barcode: pl.String = field("Barcode (EAN, UPC, ISBN).", nullable=True)
    position: pl.Int64 = field("Position among the product's variants, from 1.", unit="index")
    price_amount: MONEY = field("Price now, in the shop's currency.")
    compare_at_amount: MONEY = field("Price before a sale.", nullable=True)
    unit_cost_amount: MONEY = field("Cost of one unit.", nullable=True)
    unit_cost_currency_code: pl.String = field("Currency of the cost (ISO 4217).", nullable=True)
    is_taxable: pl.Boolean = field("Taxable.")
    is_tracked: pl.Boolean = field("Its stock is counted.")
    is_shippable: pl.Boolean = field("Needs shipping.")
    inventory_policy: pl.String = field("DENY or CONTINUE selling when out of stock.")
    inventory_quantity: pl.Int64 = field("Units available over all locations; may be negative when oversold.", nullable=True, unit="units")
    option_values: pl.String = field("Option names and values as a JSON object.")
    created_at: INSTANT = field("When it was created.")
    updated_at: INSTANT = field("When it last changed.")

    prices = rules.price_not_negative("price_amount", "compare_at_amount", "unit_cost_amount")
    cost_currency = rules.currency_known("unit_cost_currency_code")
    texts = rules.no_card_number("title", "option_values")


class ProductMedia(Contract):
    """One row an image, video or 3D model of a product."""

    media_id: pl.Int64 = field("Media id.", gt=0)
    product_id: pl.Int64 = field("Product it belongs to.")
    media_type: pl.String = field("MediaContentType: IMAGE, VIDEO, EXTERNAL_VIDEO, MODEL_3D.")
    status: pl.String = field("MediaStatus.")
    alt: pl.String = field("Text for those who cannot see it.", nullable=True)

    texts = rules.no_card_number("alt")


class ProductMetafields(Contract):
    """One row a metafield of a product."""

    metafield_id: pl.Int64 = field("Metafield id.", unique=True, gt=0)
    product_id: pl.Int64 = field("Product it belongs to.")
    namespace: pl.String = field("Namespace.")
    key: pl.String = field("Key.")
    type: pl.String = field("Metafield type.")
    value: pl.String = field("Value as text.")
    updated_at: INSTANT = field("When it last changed.")

    texts = rules.no_card_number("value")
