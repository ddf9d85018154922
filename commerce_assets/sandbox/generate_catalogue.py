"""What the generated store sells: products with variants, prices that cover every order value closely, costs, media.

Belongs here: the catalogue as arrays (one entry a variant) and as product documents. Stock is `generate_stock`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from commerce_assets.sandbox.documents import Doc, media_doc, product_doc, variant_doc
from commerce_assets.sandbox.generate_people import DAY, HISTORY_DAYS, Ints
from commerce_assets.sandbox.moments import stamp


@dataclass(frozen=True)
class Range:
    """A kind of product: what it is called, how it varies, what it costs about (median, in the shop's currency)."""

    product_type: str
    nouns: tuple[str, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...]
    median_price: float
    winter_only: bool = False
    taxable: bool = True


SIZES = ("Size", ("Small", "Medium", "Large"))
COLOURS = ("Colour", ("Slate", "Ochre", "Moss", "Clay", "Indigo", "Chalk"))
SCENTS = ("Scent", ("Fig", "Cedar", "Rose", "Sea Salt"))
RANGES: tuple[Range, ...] = (
    Range("Candles", ("Candle", "Tealight Set", "Pillar Candle"), (SCENTS,), 14.0),
    Range("Tableware", ("Mug", "Bowl", "Dinner Plate", "Jug"), (COLOURS,), 16.0),
    Range("Textiles", ("Throw", "Cushion Cover", "Tea Towel Set", "Quilt"), (SIZES, COLOURS), 38.0),
    Range("Lighting", ("Table Lamp", "Lantern", "String Lights"), (COLOURS,), 62.0),
    Range("Wall Art", ("Print", "Framed Print", "Wall Clock"), (SIZES,), 45.0),
    Range("Stationery", ("Notebook", "Card Set", "Desk Diary"), (COLOURS,), 7.5),
    Range("Kitchen", ("Apron", "Chopping Board", "Storage Jar", "Cast Iron Pan"), (SIZES,), 24.0),
    Range("Garden", ("Planter", "Watering Can", "Bird Feeder"), (SIZES,), 32.0),
    Range("Furniture", ("Stool", "Side Table", "Armchair", "Shelf"), (COLOURS,), 145.0),
    Range("Toys", ("Wooden Train", "Soft Bear", "Puzzle"), (), 19.0),
    Range("Books", ("Cookbook", "Garden Almanac", "Picture Book"), (), 17.0, taxable=False),
    Range("Christmas", ("Wreath", "Bauble Set", "Advent Calendar", "Stocking"), (COLOURS,), 18.0, winter_only=True),
)
ADJECTIVES = (  # noqa: SIM905 - a list of words reads best as words
    "Hanging Rustic Painted Woven Nordic Vintage Handmade Folded Speckled Ribbed Classic Little Grand Quiet Harvest Coastal Orchard "
    "Meadow Winter Summer Hearth Copper Linen Willow Juniper Bramble Heather Pebble Lark Finch"
).split()
VENDORS = ("Alder & Finch", "Bramble Works", "Copper Kettle", "Dale Pottery", "Eider Home", "Fold & Co", "Harrow Mills", "Lark Press")
GIFT_CARD_VALUES = (10, 25, 50, 100)


@dataclass(frozen=True)
class Catalogue:
    """The variants on sale, in order of price (so that a price can be searched for), one entry a variant.

    `product` and `variant` are ids, 0 where the product was deleted since; gift cards stand apart.
    """

    price_pence: Ints
    popularity: np.ndarray
    winter_only: np.ndarray
    taxable: np.ndarray
    product: list[int]
    variant: list[int]
    item: list[int]
    sku: list[str]
    title: list[str]
    variant_title: list[str | None]
    vendor: list[str]
    gift_cards: list[tuple[int, int, int]]
    """(price in pence, product id, variant id)."""
    documents: list[Doc]


def pleasant(price: float) -> int:
    """A shop price near `price`, in pence: .95 or .50 below 20, .00 or .95 above."""
    if price < 20:
        return max(150, int(price) * 100 + (50 if price % 1 < 0.45 else 95))
    return int(price) * 100 + (0 if price % 1 < 0.5 else 95)


def draw_catalogue(rng: np.random.Generator, count: int, as_of: int, new_id: Callable[[str], int]) -> Catalogue:
    """`count` products with about 2.4 variants each, and a gift card."""
    rows: list[tuple[int, float, bool, bool, int, int, int, str, str, str | None, str]] = []
    documents: list[Doc] = []
    popularity = 1 / (5 + rng.permutation(count))
    for index in range(count):
        kind = RANGES[index % len(RANGES)] if index < len(RANGES) else RANGES[int(rng.integers(len(RANGES)))]
        adjective = ADJECTIVES[int(rng.integers(len(ADJECTIVES)))]
        title = f"{adjective} {kind.nouns[int(rng.integers(len(kind.nouns)))]}"
        if index >= 200:
            title += f" No. {index}"
        vendor = VENDORS[int(rng.integers(len(VENDORS)))]
        base = float(np.clip(kind.median_price * rng.lognormal(0, 0.55), 2.0, 340.0))
        draws = rng.random(6).tolist()
        status = "DRAFT" if draws[0] < 0.02 else "ARCHIVED" if draws[0] < 0.06 else "ACTIVE"
        deleted = index == 17 or (index > 30 and draws[1] < 0.01)
        created_at = int(as_of - (HISTORY_DAYS + 5 + 400 * draws[2]) * DAY)
        created = stamp(created_at)
        updated = stamp(int(as_of - draws[3] * draws[3] * 200 * DAY - 3_600))
        product = new_id("Product")
        variants: list[Doc] = []
        for position, options in enumerate(_choices(rng, kind), start=1):
            variant, item = new_id("ProductVariant"), new_id("InventoryItem")
            pence = pleasant(base * (1 + 0.12 * (position - 1) * ("Size" in options) + 0.03 * float(rng.random())))
            sku = f"{kind.product_type[:3].upper()}-{index + 1:04d}-{position}"
            name = " / ".join(options.values()) if options else None
            more: Doc = {"barcode": _ean13(variant // 32_768 + 500_000_000)}
            if rng.random() < 0.12:
                more["compareAtPrice"] = f"{pleasant(pence / 100 * 1.25) / 100:.2f}"
            if not kind.taxable:
                more["taxable"] = False
            if rng.random() < 0.05:
                more["inventoryPolicy"] = "CONTINUE"
            document = variant_doc(
                variant,
                item,
                name or "Default Title",
                Decimal(pence).scaleb(-2),
                created,
                sku=sku,
                position=position,
                options=options or None,
                unit_cost=Decimal(int(pence * (0.38 + 0.2 * float(rng.random())))).scaleb(-2),
                **more,
                updatedAt=updated,
            )
            document["inventoryItem"] |= {"countryCodeOfOrigin": ("GB", "PT", "IN", "CN", "DE")[int(draws[4] * 5)], "updatedAt": updated}
            if draws[5] < 0.5:
                document["inventoryItem"]["harmonizedSystemCode"] = ("691110", "340600", "630260", "940520")[int(draws[5] * 8)]
            variants.append(document)
            if status != "DRAFT":
                ids = (0, 0, 0) if deleted else (product, variant, item)
                share = float(popularity[index]) / position**0.4
                rows.append((pence, share, kind.winter_only, kind.taxable, *ids, sku, title, name, vendor))
        if not deleted:
            handle = f"{title.lower().replace('.', '').replace(' ', '-')}-{index + 1}"
            tags = [
                kind.product_type.lower(),
                *(["winter"] if kind.winter_only else []),
                *(["bestseller"] if popularity[index] > 0.1 else []),
            ]
            more = {"vendor": vendor, "productType": kind.product_type, "status": status, "tags": tags, "updatedAt": updated}
            more["media"] = [media_doc(new_id("MediaImage"), created, alt=f"{title}, view {n + 1}") for n in range(1 + int(draws[5] * 3))]
            if status == "DRAFT":
                more["publishedAt"] = None
            documents.append(product_doc(product, title, handle, created, variants=variants, **more))
    gift_cards = _gift_cards(documents, as_of, new_id)
    rows.sort(key=lambda row: (row[0], row[7]))
    prices, shares, winter, taxable, product_ids, variant_ids, item_ids, skus, titles, names, vendors = (
        list(column) for column in zip(*rows, strict=True)
    )
    return Catalogue(
        np.array(prices),
        np.array(shares),
        np.array(winter),
        np.array(taxable),
        product_ids,
        variant_ids,
        item_ids,
        skus,
        titles,
        names,
        vendors,
        gift_cards,
        documents,
    )


def _choices(rng: np.random.Generator, kind: Range) -> list[dict[str, str]]:
    """The option values of each variant: one to six of the combinations there are."""
    combinations: list[dict[str, str]] = [{}]
    for name, values in kind.options:
        combinations = [{**chosen, name: value} for value in values for chosen in combinations]
    wanted = 1 + int(rng.choice(6, p=[0.22, 0.22, 0.22, 0.18, 0.09, 0.07]))
    return combinations[:wanted]


def _ean13(number: int) -> str:
    """An EAN-13 with its check digit, in the range kept for shops' own use (prefix 2)."""
    digits = f"2{number:011d}"
    total = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(digits))
    return digits + str(-total % 10)


def _gift_cards(documents: list[Doc], as_of: int, new_id: Callable[[str], int]) -> list[tuple[int, int, int]]:
    created = stamp(as_of - (HISTORY_DAYS + 30) * DAY)
    product = new_id("Product")
    cards, variants = [], []
    for position, value in enumerate(GIFT_CARD_VALUES, start=1):
        variant = new_id("ProductVariant")
        cards.append((value * 100, product, variant))
        variants.append(
            variant_doc(
                variant,
                new_id("InventoryItem"),
                f"£{value}",
                Decimal(value),
                created,
                sku=f"GIFT-{value}",
                position=position,
                options={"Value": f"£{value}"},
                tracked=False,
                requires_shipping=False,
                taxable=False,
            )
        )
    more: Doc = {"vendor": VENDORS[0], "productType": "Gift Cards", "isGiftCard": True, "tags": ["gift-card"]}
    documents.append(product_doc(product, "Gift Card", "gift-card", created, variants=variants, **more))
    return cards
