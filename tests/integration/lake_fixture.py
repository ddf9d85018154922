"""A small lake made from the contracts alone: a generated store as accepted Parquet, in the lake's layout.

It lets the dbt project be tested without a store, a client or landing. `Store` holds the frames of one state of the
store; `write_lake` puts them into the lake; `touch_orders` makes the next version of some orders and lands it in a
partition of its own, as a refresh of that day does. Everything follows from the seed.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from commerce_assets.contracts import LAKE_COLUMNS, TABLES, table
from commerce_assets.contracts.base import INSTANT
from commerce_assets.lake import Lake
from commerce_assets.observability.snapshots import ensure as ensure_copies
from commerce_assets.service.scores.jobs import JOBS
from commerce_assets.service.scores.running import ensure_scores, with_receipt_id

FIRST_DAY = date(2025, 1, 1)
DAYS = 700
LOADED_AT = datetime(2026, 12, 2, 3, 0, tzinfo=UTC)
QUARANTINE_COLUMNS: dict[str, pl.DataType] = {
    "load_id": pl.String(),
    "source": pl.String(),
    "family": pl.String(),
    "table": pl.String(),
    "failed_rules": pl.List(pl.String),
    "row": pl.String(),
    "row_key": pl.String(),
    "root_id": pl.Int64(),
    "_source_file": pl.String(),
    "_line": pl.Int64(),
    "_loaded_at": INSTANT,
}

Frames = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Store:
    """The state of a generated store: one frame a table, contract columns only, one version of every document."""

    frames: Frames
    seed: int

    def __getitem__(self, name: str) -> pl.DataFrame:
        return self.frames[name]


def conform(name: str, columns: Mapping[str, object], height: int) -> pl.DataFrame:
    """A frame with exactly the contract's columns and types; what is not given is null, false or empty text."""
    filled: list[pl.Series] = []
    for column in table(name).columns:
        if column.name in columns:
            given = columns[column.name]
            values = given if isinstance(given, pl.Series) else pl.Series(given)
            if len(values) == 1 and height != 1:
                values = values.new_from_index(0, height)
            filled.append(values.cast(column.dtype).alias(column.name))
        elif column.nullable:
            filled.append(pl.Series(column.name, [None], dtype=column.dtype).new_from_index(0, height))
        else:
            blank = {pl.String: "", pl.Boolean: False, pl.List: []}.get(column.dtype.base_type(), 0)
            filled.append(pl.Series(column.name, [blank]).cast(column.dtype).new_from_index(0, height))
    return pl.DataFrame(filled)


def _money(cents: np.ndarray) -> pl.Series:
    return pl.Series(cents.astype(np.int64)).cast(pl.Decimal(18, 4)) / pl.Series([100]).cast(pl.Decimal(18, 4))


def _instants(seconds: np.ndarray) -> pl.Series:
    return pl.Series(seconds.astype(np.int64) * 1_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _texts(prefix: str, numbers: np.ndarray) -> pl.Series:
    return pl.Series(numbers).cast(pl.String).str.replace("^", prefix)


def _picked(rng: np.random.Generator, options: list[str | None], weights: list[float], size: int) -> pl.Series:
    return pl.Series(options, dtype=pl.String).gather(rng.choice(len(options), size=size, p=weights))


def make_store(orders: int, seed: int = 7) -> Store:
    """A store of `orders` orders over two years, with customers, products, stock and refunds in proportion."""
    rng = np.random.default_rng(seed)
    customers, products = max(orders // 6, 5), max(orders // 24, 5)
    frames = _catalogue(rng, products) | _customers(rng, customers) | _orders(rng, orders, customers, products)
    frames["locations"] = conform(
        "locations",
        {
            "location_id": [1, 2, 3],
            "location_gid": [f"gid://shopify/Location/{n}" for n in (1, 2, 3)],
            "location_name": ["Warehouse", "Shop", "Partner"],
            "is_active": [True, True, False],
            "is_fulfilling_online": [True, False, False],
            "is_shipping": [True, False, True],
            "country_code": ["GB", "GB", "DE"],
            "created_at": [datetime(2024, 6, 1, tzinfo=UTC)],
            "updated_at": [datetime(2024, 6, 1, tzinfo=UTC)],
        },
        3,
    )
    frames["swept_ids"] = swept(frames)
    frames["deleted_ids"] = conform("deleted_ids", {}, 0)
    return Store(frames, seed)


def swept(frames: Frames, gone: Mapping[str, set[int]] | None = None, at: datetime = LOADED_AT + timedelta(hours=1)) -> pl.DataFrame:
    """The ids that a sweep finds: all of them, less those that are `gone`."""
    parts = []
    for object_type, name, key in (
        ("order", "orders", "order_id"),
        ("customer", "customers", "customer_id"),
        ("product", "products", "product_id"),
    ):
        ids = frames[name].filter(~pl.col(key).is_in(list((gone or {}).get(object_type, set()))))[key]
        parts.append(conform("swept_ids", {"object_type": [object_type], "object_id": ids, "swept_at": [at]}, len(ids)))
    return pl.concat(parts)


def _catalogue(rng: np.random.Generator, count: int) -> Frames:
    ids = np.arange(1, count + 1) + 10_000
    since = _instants(np.full(count, int(datetime(2024, 11, 1, tzinfo=UTC).timestamp())))
    products = conform(
        "products",
        {
            "product_id": ids,
            "product_gid": _texts("gid://shopify/Product/", ids),
            "title": _texts("Product ", ids),
            "handle": _texts("product-", ids),
            "vendor": _picked(rng, ["Acme", "Globex", "Initech"], [0.5, 0.3, 0.2], count),
            "product_type": _picked(rng, ["Mugs", "Bags", "Lights", "Cards"], [0.4, 0.3, 0.2, 0.1], count),
            "status": _picked(rng, ["ACTIVE", "ARCHIVED", "DRAFT"], [0.9, 0.07, 0.03], count),
            "is_gift_card": pl.Series(ids % 50 == 0),
            "created_at": since,
            "updated_at": since,
            "published_at": since,
        },
        count,
    )
    variant_ids = np.repeat(ids, 2) * 10 + np.tile([1, 2], count)
    twice = len(variant_ids)
    variants = conform(
        "variants",
        {
            "variant_id": variant_ids,
            "variant_gid": _texts("gid://shopify/ProductVariant/", variant_ids),
            "product_id": np.repeat(ids, 2),
            "inventory_item_id": variant_ids + 5_000_000,
            "title": _texts("Variant ", variant_ids),
            "sku": _texts("SKU-", variant_ids),
            "position": np.tile([1, 2], count),
            "price_amount": _money(rng.integers(200, 9000, twice)),
            "unit_cost_amount": _money(rng.integers(100, 4000, twice)),
            "unit_cost_currency_code": ["GBP"],
            "is_taxable": [True],
            "is_tracked": [True],
            "is_shippable": [True],
            "inventory_policy": ["DENY"],
            "inventory_quantity": rng.integers(-2, 200, twice),
            "option_values": ['{"Size": "M"}'],
            "created_at": since.gather(np.repeat(np.arange(count), 2)),
            "updated_at": since.gather(np.repeat(np.arange(count), 2)),
        },
        twice,
    )
    items = conform(
        "inventory_items",
        {
            "inventory_item_id": variant_ids + 5_000_000,
            "inventory_item_gid": _texts("gid://shopify/InventoryItem/", variant_ids + 5_000_000),
            "sku": _texts("SKU-", variant_ids),
            "is_tracked": [True],
            "is_shippable": [True],
            "unit_cost_amount": variants["unit_cost_amount"],
            "currency_code": ["GBP"],
            "created_at": variants["created_at"],
            "updated_at": variants["updated_at"],
        },
        twice,
    )
    item_ids = np.repeat(variant_ids + 5_000_000, 2)
    locations = np.tile([1, 2], twice)
    available, committed = rng.integers(-2, 200, twice * 2), rng.integers(0, 5, twice * 2)
    levels = conform(
        "inventory_levels",
        {
            "inventory_level_gid": _texts("gid://shopify/InventoryLevel/", item_ids * 10 + locations),
            "inventory_item_id": item_ids,
            "location_id": locations,
            "is_active": [True],
            "available_quantity": available,
            "committed_quantity": committed,
            "on_hand_quantity": available + committed,
            "created_at": [datetime(2024, 11, 1, tzinfo=UTC)],
            "updated_at": [datetime(2024, 11, 1, tzinfo=UTC)],
        },
        twice * 2,
    )
    media = conform(
        "product_media",
        {"media_id": ids + 900_000, "product_id": ids, "media_type": ["IMAGE"], "status": ["READY"], "alt": _texts("Picture of ", ids)},
        count,
    )
    metafields = conform(
        "product_metafields",
        {
            "metafield_id": ids + 800_000,
            "product_id": ids,
            "namespace": ["custom"],
            "key": ["care"],
            "type": ["single_line_text_field"],
            "value": ["hand wash"],
            "updated_at": since,
        },
        count,
    )
    return {
        "products": products,
        "variants": variants,
        "product_media": media,
        "product_metafields": metafields,
        "inventory_items": items,
        "inventory_levels": levels,
    }


def _customers(rng: np.random.Generator, count: int) -> Frames:
    ids = np.arange(1, count + 1) + 200_000
    created = int(datetime(2024, 11, 1, tzinfo=UTC).timestamp()) + rng.integers(0, 86_400 * 30, count)
    country = _picked(rng, ["GB", "DE", "FR", None], [0.7, 0.15, 0.1, 0.05], count)
    customers = conform(
        "customers",
        {
            "customer_id": ids,
            "customer_gid": _texts("gid://shopify/Customer/", ids),
            "first_name": _texts("First", ids),
            "last_name": _texts("Last", ids),
            "email": _texts("customer", ids) + "@example.com",
            "state": _picked(rng, ["ENABLED", "DISABLED", "INVITED"], [0.6, 0.3, 0.1], count),
            "locale": ["en-GB"],
            "default_address_id": ids + 700_000,
            "currency_code": ["GBP"],
            "created_at": _instants(created),
            "updated_at": _instants(created + 3600),
        },
        count,
    )
    addresses = conform(
        "customer_addresses",
        {
            "address_id": ids + 700_000,
            "customer_id": ids,
            "is_default": [True],
            "city": ["Leeds"],
            "postal_code": pl.Series(["LS1 1AA"]).new_from_index(0, count).set((country != "GB").fill_null(True), None),
            "country_code": country,
        },
        count,
    )
    consents = conform(
        "customer_consents",
        {
            "customer_id": np.repeat(ids, 2),
            "channel": np.tile(["email", "sms"], count),
            "consent_state": _picked(rng, ["SUBSCRIBED", "NOT_SUBSCRIBED", "UNSUBSCRIBED"], [0.5, 0.4, 0.1], count * 2),
            "opt_in_level": ["SINGLE_OPT_IN"],
            "consent_updated_at": _instants(np.repeat(created, 2)),
        },
        count * 2,
    )
    metafields = conform(
        "customer_metafields",
        {
            "metafield_id": ids + 600_000,
            "customer_id": ids,
            "namespace": ["loyalty"],
            "key": ["points"],
            "type": ["number_integer"],
            "value": _texts("", rng.integers(0, 500, count)),
            "updated_at": _instants(created),
        },
        count,
    )
    return {"customers": customers, "customer_addresses": addresses, "customer_consents": consents, "customer_metafields": metafields}


def _orders(rng: np.random.Generator, count: int, customers: int, products: int) -> Frames:
    ids = np.arange(1, count + 1) + 1_000_000
    start = int(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp())
    placed = np.sort(start + rng.integers(0, 86_400 * DAYS, count))
    updated = np.minimum(placed + rng.integers(600, 86_400 * 6, count), start + 86_400 * DAYS - 1)
    is_test, is_cancelled, is_guest, is_b2b = rng.random((4, count)) < np.array([[0.005], [0.03], [0.1], [0.02]])
    is_gross, currency = rng.random(count) < 0.3, np.where(rng.random(count) < 0.1, "EUR", "GBP")

    lines_of = rng.integers(1, 5, count)
    owner = np.repeat(np.arange(count), lines_of)
    line_ids = np.arange(len(owner)) + 10_000_000
    product_of = rng.integers(1, products + 1, len(owner)) + 10_000
    quantity, price = rng.integers(1, 4, len(owner)), rng.integers(200, 9000, len(owner))
    gross = quantity * price
    discount = np.where(rng.random(count)[owner] < 0.2, gross // 10, 0)
    net = gross - discount
    tax = np.where(is_gross[owner], net - net * 5 // 6, net // 5)
    is_gift_card = product_of % 50 == 0
    tax = np.where(is_gift_card, 0, tax)
    shipping, shipping_tax = rng.choice([0, 395, 595], count), np.zeros(count, dtype=np.int64)

    def per_order(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weights=values, minlength=count).astype(np.int64)

    tip = np.where(rng.random(count) < 0.01, 200, 0)
    subtotal, order_tax = per_order(net), per_order(tax)
    total = subtotal + np.where(is_gross, 0, order_tax) + shipping + tip

    # One refund for one order in twelve: the first line whole, or a part of its value without goods.
    first_line = np.concatenate([[0], np.cumsum(lines_of)[:-1]])
    refunded = np.flatnonzero((rng.random(count) < 1 / 12) & ~is_test)
    line = first_line[refunded]
    with_goods = rng.random(len(refunded)) < 0.8
    back_net = net[line] - np.where(is_gross[refunded], tax[line], 0)
    back_tax = tax[line]
    paid_back = np.where(with_goods, back_net + back_tax, np.minimum(100, total[refunded]))
    refund_seconds = placed[refunded] + rng.integers(3600, 86_400 * 5, len(refunded))
    refund_ids = ids[refunded] + 30_000_000

    refunded_total = np.zeros(count, dtype=np.int64)
    refunded_total[refunded] = paid_back
    returned_quantity = np.zeros(len(owner), dtype=np.int64)
    returned_quantity[line[with_goods]] = quantity[line[with_goods]]
    updated = np.maximum(updated, np.bincount(refunded, weights=refund_seconds, minlength=count).astype(np.int64))
    status = np.where(refunded_total == 0, "PAID", np.where(refunded_total >= total, "REFUNDED", "PARTIALLY_REFUNDED"))

    orders = conform(
        "orders",
        {
            "order_id": ids,
            "order_gid": _texts("gid://shopify/Order/", ids),
            "order_name": _texts("#", ids),
            "created_at": _instants(placed),
            "processed_at": _instants(placed),
            "updated_at": _instants(updated),
            "cancelled_at": _instants(updated).set(pl.Series(~is_cancelled), None),
            "cancel_reason": pl.Series(["CUSTOMER"]).new_from_index(0, count).set(pl.Series(~is_cancelled), None),
            "is_test": is_test,
            "is_confirmed": [True],
            "customer_id": pl.Series(rng.integers(1, customers + 1, count) + 200_000).set(pl.Series(is_guest), None),
            "company_id": pl.Series(np.full(count, 77)).set(pl.Series(~is_b2b), None),
            "company_name": pl.Series(["Trade Ltd"]).new_from_index(0, count).set(pl.Series(~is_b2b), None),
            "email": _texts("buyer", ids) + "@example.com",
            "tags": [["spring"]],
            "source_name": _picked(rng, ["web", "pos", "shopify_draft_order"], [0.85, 0.1, 0.05], count),
            "currency_code": currency,
            "presentment_currency_code": currency,
            "is_taxes_included": is_gross,
            "financial_status": status,
            "fulfillment_status": ["FULFILLED"],
            "line_quantity": per_order(quantity),
            "subtotal_amount": _money(subtotal),
            "discount_amount": _money(per_order(discount)),
            "tax_amount": _money(order_tax),
            "shipping_amount": _money(shipping),
            "tip_amount": _money(tip),
            "total_amount": _money(total),
            "presentment_total_amount": _money(total),
            "current_total_amount": _money(total - refunded_total),
            "received_amount": _money(total),
            "refunded_amount": _money(refunded_total),
            "shipping_country_code": _picked(rng, ["GB", "DE", "FR"], [0.7, 0.2, 0.1], count),
        },
        count,
    )
    order_lines = conform(
        "order_lines",
        {
            "order_line_id": line_ids,
            "order_id": ids[owner],
            "product_id": product_of,
            "variant_id": product_of * 10 + rng.integers(1, 3, len(owner)),
            "sku": _texts("SKU-", product_of),
            "title": _texts("Product ", product_of),
            "vendor": ["Acme"],
            "quantity": quantity,
            "current_quantity": quantity - returned_quantity,
            "unit_price_amount": _money(price),
            "gross_amount": _money(gross),
            "discount_amount": _money(discount),
            "tax_amount": _money(tax),
            "currency_code": currency[owner],
            "is_gift_card": is_gift_card,
            "is_shippable": ~is_gift_card,
            "is_taxable": [True],
        },
        len(owner),
    )
    discounted = np.flatnonzero(per_order(discount) > 0)
    discounts = conform(
        "discount_applications",
        {
            "order_id": ids[discounted],
            "discount_type": ["DiscountCodeApplication"],
            "code": ["SPRING10"],
            "allocation_method": ["ACROSS"],
            "target_selection": ["ALL"],
            "target_type": ["LINE_ITEM"],
            "value_type": ["PricingPercentageValue"],
            "value_percentage": [10.0],
        },
        len(discounted),
    )
    taxed = np.flatnonzero(tax > 0)
    taxes = conform(
        "tax_lines",
        {
            "order_id": ids[owner[taxed]],
            "owner_type": ["order_line"],
            "owner_id": line_ids[taxed],
            "title": ["VAT"],
            "rate": [0.2],
            "tax_amount": _money(tax[taxed]),
            "currency_code": currency[owner[taxed]],
        },
        len(taxed),
    )
    shipping_lines = conform(
        "shipping_lines",
        {
            "shipping_line_id": ids + 40_000_000,
            "order_id": ids,
            "title": ["Standard"],
            "gross_amount": _money(shipping),
            "net_amount": _money(shipping),
            "tax_amount": _money(shipping_tax),
            "currency_code": currency,
        },
        count,
    )
    paid = np.flatnonzero(paid_back > 0)
    transactions = pl.concat(
        [
            conform(
                "transactions",
                {
                    "transaction_id": ids + 50_000_000,
                    "order_id": ids,
                    "kind": ["SALE"],
                    "status": ["SUCCESS"],
                    "gateway": ["shopify_payments"],
                    "is_test": is_test,
                    "amount": _money(total),
                    "currency_code": currency,
                    "created_at": _instants(placed),
                    "processed_at": _instants(placed),
                },
                count,
            ),
            conform(
                "transactions",
                {
                    "transaction_id": refund_ids[paid] + 50_000_000,
                    "order_id": ids[refunded[paid]],
                    "parent_transaction_id": ids[refunded[paid]] + 50_000_000,
                    "kind": ["REFUND"],
                    "status": ["SUCCESS"],
                    "gateway": ["shopify_payments"],
                    "amount": _money(paid_back[paid]),
                    "currency_code": currency[refunded[paid]],
                    "created_at": _instants(refund_seconds[paid]),
                    "processed_at": _instants(refund_seconds[paid]),
                },
                len(paid),
            ),
        ]
    )
    refunds = conform(
        "refunds",
        {
            "refund_id": refund_ids,
            "order_id": ids[refunded],
            "created_at": _instants(refund_seconds),
            "processed_at": _instants(refund_seconds),
            "updated_at": _instants(refund_seconds),
            "note": ["did not fit"],
            "refunded_amount": _money(paid_back),
            "currency_code": currency[refunded],
        },
        len(refunded),
    )
    goods = np.flatnonzero(with_goods)
    refund_lines = conform(
        "refund_lines",
        {
            "refund_line_id": refund_ids[goods] + 60_000_000,
            "refund_id": refund_ids[goods],
            "order_id": ids[refunded[goods]],
            "order_line_id": line_ids[line[goods]],
            "quantity": quantity[line[goods]],
            "restock_type": ["RETURN"],
            "is_restocked": [True],
            "location_id": [1],
            "subtotal_amount": _money(back_net[goods]),
            "tax_amount": _money(back_tax[goods]),
            "currency_code": currency[refunded[goods]],
        },
        len(goods),
    )
    shipped = np.flatnonzero(~is_cancelled)
    fulfillments = conform(
        "fulfillments",
        {
            "fulfillment_id": ids[shipped] + 70_000_000,
            "order_id": ids[shipped],
            "fulfillment_name": _texts("#", ids[shipped]) + ".1",
            "status": ["SUCCESS"],
            "display_status": ["DELIVERED"],
            "quantity": per_order(quantity)[shipped],
            "location_id": [1],
            "created_at": _instants(placed[shipped] + 300),
            "updated_at": _instants(placed[shipped] + 400),
            "delivered_at": _instants(placed[shipped] + 86_400),
        },
        len(shipped),
    )
    shipped_lines = np.flatnonzero(~is_cancelled[owner])
    fulfillment_lines = conform(
        "fulfillment_lines",
        {
            "fulfillment_id": ids[owner[shipped_lines]] + 70_000_000,
            "order_id": ids[owner[shipped_lines]],
            "order_line_id": line_ids[shipped_lines],
            "quantity": quantity[shipped_lines],
            "is_derived": [True],
        },
        len(shipped_lines),
    )
    return {
        "orders": orders,
        "order_lines": order_lines,
        "discount_applications": discounts,
        "tax_lines": taxes,
        "shipping_lines": shipping_lines,
        "transactions": transactions,
        "refunds": refunds,
        "refund_lines": refund_lines,
        "fulfillments": fulfillments,
        "fulfillment_lines": fulfillment_lines,
    }


def landed(store: Store, name: str, loaded_at: datetime, source_file: str) -> pl.DataFrame:
    """A table as landing writes it: with the lake's columns, `_version_at` taken from the root document."""
    contract = table(name)
    rows = store[name]
    if contract.is_root:
        version = rows[{"swept_ids": "swept_at", "deleted_ids": "deleted_at"}.get(name, "updated_at")]
        rows = rows.with_columns(version.alias("_version_at"))
    else:
        column, root, key = contract.parents[0]
        versions = store[root].select(pl.col(key).alias(column), pl.col("updated_at").alias("_version_at"))
        rows = rows.join(versions, on=column, how="inner", maintain_order="left")
    return rows.with_columns(
        pl.lit(source_file).alias("_source_file"),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("_line"),
        pl.lit(loaded_at).cast(INSTANT).alias("_loaded_at"),
    ).select(*contract.schema, *LAKE_COLUMNS)


def write_lake(lake: Path, store: Store, loaded_at: datetime = LOADED_AT, compacted: bool = False) -> None:
    """The store's state as one full load: the order family by day of `updated_at` (by month when compacted), stock by day of snapshot, the rest whole."""
    write_empty(lake)
    for contract in TABLES:
        rows = landed(store, contract.name, loaded_at, f"storefront/{contract.family}/full/part-00000.jsonl")
        if contract.family == "orders":
            write_by_period(lake, contract.name, rows, "%Y-%m" if compacted else "%Y-%m-%d")
        else:
            write_partition(lake, contract.name, f"{loaded_at:%Y-%m-%d}" if contract.family == "inventory" else "all", rows)


def write_empty(lake: Path) -> None:
    """The typed empty file of every table, and of quarantine, scores and copies of the books, as the lake always has them."""
    for contract in TABLES:
        write_partition(lake, contract.name, "empty", pl.DataFrame(schema={**contract.schema, **LAKE_COLUMNS}))
        quarantine = lake / "quarantine" / contract.source / contract.name / "partition=empty"
        quarantine.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(schema=QUARANTINE_COLUMNS).write_parquet(quarantine / "empty.parquet")
    ensure_scores(Lake(lake), JOBS.values())
    ensure_copies(lake)


def write_scores(lake: Path, name: str, rows: pl.DataFrame) -> None:
    """Rows of a score, or of a table beside one, in its columns and types; what is not given is null."""
    schema = next(
        with_receipt_id(table)
        for job in JOBS.values()
        for kept, table in {job.name: job.schema, **{beside.name: beside.schema for beside in job.tables.values()}}.items()
        if kept == name
    )
    columns = [(pl.col(column) if column in rows.columns else pl.lit(None)).cast(dtype).alias(column) for column, dtype in schema.items()]
    Lake(lake).write_scores(name, rows.select(columns))


def write_by_period(lake: Path, name: str, rows: pl.DataFrame, period: str) -> None:
    """Rows into the partitions of their versions' periods, days or months."""
    by_period = rows.with_columns(pl.col("_version_at").dt.strftime(period).alias("partition"))
    for (partition,), part in by_period.partition_by("partition", as_dict=True, include_key=False).items():
        write_partition(lake, name, str(partition), part)


def write_partition(lake: Path, name: str, partition: str, rows: pl.DataFrame) -> None:
    """Replace one partition of a table, as landing does."""
    folder = lake / "raw" / table(name).source / name / f"partition={partition}"
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "data.parquet")


def drop_partition(lake: Path, family: str, partition: str) -> None:
    """Take one partition of a document family out of the lake, as a re-pull of a day that holds nothing any more does."""
    for contract in TABLES:
        if contract.family == family:
            shutil.rmtree(lake / "raw" / contract.source / contract.name / f"partition={partition}", ignore_errors=True)


def touch_orders(
    lake: Path, store: Store, share: float, day: date, loaded_at: datetime, seed: int = 1, partition: str | None = None
) -> list[int]:
    """Land a newer version of a share of the orders in the partition of `day`, or the one named; the older versions stay where they are.

    Of the orders touched a tenth is cancelled, a tenth loses all but its first line, and the rest gets a refund of the
    first line's units that were not yet given back.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(store["orders"]["order_id"].to_numpy(), max(int(len(store["orders"]) * share), 3), replace=False))
    kind = pl.DataFrame({"order_id": chosen, "change": np.arange(len(chosen)) % 10})
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    frames: Frames = {}
    for contract in TABLES:
        if contract.family == "orders":
            frames[contract.name] = store[contract.name].join(kind, on="order_id", how="inner", maintain_order="left")
    lines = frames["order_lines"]
    first = lines.group_by("order_id", maintain_order=True).first()
    dropped = lines.filter(pl.col("change") == 1).join(first.select("order_line_id"), on="order_line_id", how="anti")["order_line_id"]
    for name in ("order_lines", "refund_lines", "fulfillment_lines"):
        frames[name] = frames[name].filter(~pl.col("order_line_id").is_in(dropped.implode()))
    frames["tax_lines"] = frames["tax_lines"].filter(~pl.col("owner_id").is_in(dropped.implode()))
    frames["orders"] = frames["orders"].with_columns(
        pl.lit(noon).cast(INSTANT).alias("updated_at"),
        pl.when(pl.col("change") == 0).then(pl.lit(noon).cast(INSTANT)).otherwise(pl.col("cancelled_at")).alias("cancelled_at"),
    )
    again = first.filter((pl.col("change") > 1) & (pl.col("current_quantity") > 0))
    frames["refunds"] = pl.concat(
        [
            frames["refunds"].drop("change"),
            conform(
                "refunds",
                {
                    "refund_id": again["order_id"] + 130_000_000,
                    "order_id": again["order_id"],
                    "created_at": [noon],
                    "processed_at": [noon],
                    "updated_at": [noon],
                    "refunded_amount": again["gross_amount"] - again["discount_amount"],
                    "currency_code": again["currency_code"],
                },
                len(again),
            ),
        ]
    )
    frames["refund_lines"] = pl.concat(
        [
            frames["refund_lines"].drop("change"),
            conform(
                "refund_lines",
                {
                    "refund_line_id": again["order_id"] + 160_000_000,
                    "refund_id": again["order_id"] + 130_000_000,
                    "order_id": again["order_id"],
                    "order_line_id": again["order_line_id"],
                    "quantity": again["current_quantity"],
                    "restock_type": ["NO_RESTOCK"],
                    "subtotal_amount": again["gross_amount"] - again["discount_amount"],
                    "currency_code": again["currency_code"],
                },
                len(again),
            ),
        ]
    )
    changed = Store({name: rows.drop("change", strict=False) for name, rows in frames.items()}, store.seed)
    for name in changed.frames:
        home = partition or f"{day:%Y-%m-%d}"
        write_partition(lake, name, home, landed(changed, name, loaded_at, f"storefront/orders/{home}/part-00000.jsonl"))
    return [int(order_id) for order_id in chosen]
