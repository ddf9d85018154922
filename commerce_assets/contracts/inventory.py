"""The inventory family (items and their levels by location), locations, and the ids found by a sweep."""

import polars as pl

from commerce_assets.contracts import rules
from commerce_assets.contracts.base import INSTANT, MONEY, Contract, field


class InventoryItems(Contract):
    """One row an inventory item: the stocked side of a variant."""

    inventory_item_id: pl.Int64 = field("Inventory item id.", unique=True, gt=0)
    inventory_item_gid: pl.String = field("gid://shopify/InventoryItem/{id}.")
    sku: pl.String = field("Stock keeping unit.", nullable=True)
    is_tracked: pl.Boolean = field("Its stock is counted.")
    is_shippable: pl.Boolean = field("Needs shipping.")
    origin_country_code: pl.String = field("Country of origin (ISO 3166-1 alpha-2).", nullable=True)
    harmonized_system_code: pl.String = field("Customs code.", nullable=True)
    unit_cost_amount: MONEY = field("Cost of one unit.", nullable=True)
    currency_code: pl.String = field("Currency of the cost (ISO 4217).", nullable=True)
    created_at: INSTANT = field("When it was created.")
    updated_at: INSTANT = field("When it last changed.")

    cost = rules.price_not_negative("unit_cost_amount")
    currency = rules.currency_known("currency_code")
    origin = rules.country_known("origin_country_code")


class InventoryLevels(Contract):
    """One row an inventory item at a location, as counted when the snapshot was taken.

    `on_hand = available + committed + reserved` in Shopify's model, damaged and safety stock being part of reserved.
    """

    inventory_level_gid: pl.String = field("gid://shopify/InventoryLevel/{id}?inventory_item_id={id}.")
    inventory_item_id: pl.Int64 = field("Inventory item.")
    location_id: pl.Int64 = field("Location.")
    is_active: pl.Boolean = field("The item is stocked at the location.")
    available_quantity: pl.Int64 = field("Units that can be sold; negative when oversold.", unit="units")
    on_hand_quantity: pl.Int64 = field("Units physically there.", unit="units")
    committed_quantity: pl.Int64 = field("Units in placed, unfulfilled orders.", unit="units")
    incoming_quantity: pl.Int64 = field("Units on their way.", unit="units")
    reserved_quantity: pl.Int64 = field("Units set aside.", unit="units")
    created_at: INSTANT = field("When the level was created.")
    updated_at: INSTANT = field("When it last changed.")


class Locations(Contract):
    """One row a location: warehouse, shop, fulfilment service."""

    location_id: pl.Int64 = field("Location id.", unique=True, gt=0)
    location_gid: pl.String = field("gid://shopify/Location/{id}.")
    location_name: pl.String = field("Name.")
    is_active: pl.Boolean = field("In use.")
    is_fulfilling_online: pl.Boolean = field("Fulfils online orders.")
    is_shipping: pl.Boolean = field("Ships inventory.")
    city: pl.String = field("City.", nullable=True)
    province_code: pl.String = field("Province or state.", nullable=True)
    postal_code: pl.String = field("Postal code.", nullable=True)
    country_code: pl.String = field("Country (ISO 3166-1 alpha-2).", nullable=True)
    created_at: INSTANT = field("When it was created.")
    updated_at: INSTANT = field("When it last changed.")
    deactivated_at: INSTANT = field("When it was deactivated.", nullable=True)

    country = rules.country_known("country_code")
    postal_code_fits = rules.postal_code_fits_country(postal_code="country_code")


class SweptIds(Contract):
    """One row an id that the storefront still held when it was swept; an order, customer or product not among them was deleted."""

    object_type: pl.String = field("order, customer or product.", isin=["order", "customer", "product"])
    object_id: pl.Int64 = field("Numeric id.", gt=0)
    swept_at: INSTANT = field("When the sweep began; anything older and not found is gone.")
