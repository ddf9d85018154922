"""Writes a bulk-operation result of the order family, in the shape of `orders_bulk.graphql`, for benchmarks and memory tests.

About 2 kB and 2.89 lines an order: 200,000 orders are 578,000 lines and some 400 MB. Totals add up, so every row is accepted.
"""

import argparse
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

COUNTRIES = (("GB", "SW1A 1AA", "London"), ("US", "10001", "New York"), ("DE", "10115", "Berlin"), ("FR", "75001", "Paris"))
PART_BYTES = 64 * 2**20
START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 365
BASE = 5_000_000_000_000


def shop_money(pence: int) -> dict[str, object]:
    return {"shopMoney": {"amount": f"{pence / 100:.2f}"}}


def shop_money_in(pence: int, currency: str = "GBP") -> dict[str, object]:
    return {"shopMoney": {"amount": f"{pence / 100:.2f}", "currencyCode": currency}}


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def order_documents(orders: int, seed: int) -> Iterator[list[dict[str, object]]]:
    """The lines of one order after another: the order, then its line items and shipping line."""
    dice = random.Random(seed)
    step = timedelta(days=DAYS) / max(orders, 1)
    for number in range(orders):
        yield order_document(dice, number, START + step * number)


def order_document(dice: random.Random, number: int, placed: datetime) -> list[dict[str, object]]:
    order_id = BASE + number
    gid = f"gid://shopify/Order/{order_id}"
    country, postal_code, city = COUNTRIES[dice.randrange(4)]
    line_count = dice.choices((1, 2, 3, 4), (60, 25, 10, 5))[0]
    lines: list[dict[str, object]] = []
    net = tax = discount = units = 0
    is_discounted, is_taxed, is_shipped = dice.random() < 0.15, country == "GB", dice.random() < 0.6
    for position in range(line_count):
        quantity, price = dice.randrange(1, 5), dice.randrange(199, 9999)
        gross = quantity * price
        off = gross // 10 if is_discounted else 0
        line_tax = (gross - off) // 5 if is_taxed else 0
        net, tax, discount, units = net + gross, tax + line_tax, discount + off, units + quantity
        variant = dice.randrange(1, 20_000)
        lines.append(
            {
                "id": f"gid://shopify/LineItem/{order_id * 10 + position}",
                "title": f"Enamel mug number {variant}",
                "variantTitle": "Blue / Large",
                "sku": f"MUG-{variant:06d}",
                "vendor": "Potteries of the North",
                "quantity": quantity,
                "currentQuantity": quantity,
                "isGiftCard": False,
                "requiresShipping": True,
                "taxable": True,
                "product": {"id": f"gid://shopify/Product/{BASE + variant // 3}"},
                "variant": {"id": f"gid://shopify/ProductVariant/{BASE + variant}"},
                "originalUnitPriceSet": shop_money_in(price),
                "originalTotalSet": shop_money(gross),
                "discountAllocations": [{"allocatedAmountSet": shop_money(off), "discountApplication": {"index": 0}}] if off else [],
                "taxLines": [{"title": "VAT", "rate": 0.2, "priceSet": shop_money_in(line_tax)}] if is_taxed else [],
                "__parentId": gid,
            }
        )
    shipping = 499 if dice.random() < 0.14 else 0
    if shipping:
        lines.append(
            {
                "id": f"gid://shopify/ShippingLine/{order_id}",
                "title": "Standard",
                "code": "STD",
                "source": "shopify",
                "originalPriceSet": shop_money_in(shipping),
                "discountedPriceSet": shop_money(shipping),
                "taxLines": [],
                "__parentId": gid,
            }
        )
    if is_discounted:
        lines.append(
            {
                "__typename": "DiscountCodeApplication",
                "index": 0,
                "allocationMethod": "ACROSS",
                "targetSelection": "ALL",
                "targetType": "LINE_ITEM",
                "value": {"__typename": "PricingPercentageValue", "percentage": 10.0},
                "code": "TEN",
                "__parentId": gid,
            }
        )
    total = net - discount + tax + shipping
    updated = placed + timedelta(hours=dice.randrange(1, 12))
    is_refunded = dice.random() < 0.05
    order: dict[str, object] = {
        "id": gid,
        "name": f"#{number + 1001}",
        "number": number + 1001,
        "createdAt": instant(placed),
        "processedAt": instant(placed),
        "updatedAt": instant(updated),
        "cancelledAt": None,
        "closedAt": None,
        "cancelReason": None,
        "test": False,
        "confirmed": True,
        "email": f"customer{number % 50_000}@example.com",
        "note": None if number % 9 else "Please leave with the neighbour at number 12",
        "tags": ["wholesale"] if number % 11 == 0 else [],
        "sourceName": "web",
        "currencyCode": "GBP",
        "presentmentCurrencyCode": "GBP",
        "taxesIncluded": False,
        "displayFinancialStatus": "PARTIALLY_REFUNDED" if is_refunded else "PAID",
        "displayFulfillmentStatus": "FULFILLED" if is_shipped else "UNFULFILLED",
        "subtotalLineItemsQuantity": units,
        "customer": {"id": f"gid://shopify/Customer/{BASE + number % 50_000}"} if number % 7 else None,
        "purchasingEntity": {},
        "shippingAddress": {"city": city, "provinceCode": None, "zip": postal_code, "countryCodeV2": country},
        "billingAddress": {"zip": postal_code, "countryCodeV2": country},
        "subtotalPriceSet": shop_money_in(net - discount),
        "totalDiscountsSet": shop_money(discount),
        "totalTaxSet": shop_money(tax),
        "totalShippingPriceSet": shop_money(shipping),
        "totalTipReceivedSet": shop_money(0),
        "totalPriceSet": {**shop_money(total), "presentmentMoney": {"amount": f"{total / 100:.2f}"}},
        "currentTotalPriceSet": shop_money(total - (100 if is_refunded else 0)),
        "totalReceivedSet": shop_money(total),
        "totalRefundedSet": shop_money(100 if is_refunded else 0),
        "taxLines": [{"title": "VAT", "rate": 0.2, "priceSet": shop_money_in(tax)}] if is_taxed else [],
        "transactions": [
            {
                "id": f"gid://shopify/OrderTransaction/{order_id}",
                "kind": "SALE",
                "status": "SUCCESS",
                "gateway": "shopify_payments",
                "test": False,
                "createdAt": instant(placed),
                "processedAt": instant(placed),
                "errorCode": None,
                "parentTransaction": None,
                "amountSet": shop_money_in(total),
            }
        ],
        "refunds": [
            {
                "id": f"gid://shopify/Refund/{order_id}",
                "createdAt": instant(updated),
                "processedAt": instant(updated),
                "updatedAt": instant(updated),
                "note": "Chipped",
                "totalRefundedSet": shop_money_in(100),
            }
        ]
        if is_refunded
        else [],
        "fulfillments": [
            {
                "id": f"gid://shopify/Fulfillment/{order_id}",
                "name": f"#{number + 1001}.1",
                "createdAt": instant(updated),
                "updatedAt": instant(updated),
                "deliveredAt": None,
                "inTransitAt": None,
                "status": "SUCCESS",
                "displayStatus": "FULFILLED",
                "totalQuantity": units,
                "location": {"id": f"gid://shopify/Location/{BASE}"},
            }
        ]
        if is_shipped
        else [],
    }
    return [order, *lines]


def generate(orders: int, folder: Path, seed: int = 7, part_bytes: int | None = PART_BYTES) -> tuple[list[Path], int]:
    """Write the parts (one file when `part_bytes` is None) and say how many lines there are."""
    folder.mkdir(parents=True, exist_ok=True)
    encode = json.JSONEncoder(separators=(",", ":")).encode
    files: list[Path] = []
    lines = size = 0
    handle = None
    for document in order_documents(orders, seed):
        if handle is None or (part_bytes is not None and size >= part_bytes):
            if handle is not None:
                handle.close()
            files.append(folder / f"part-{len(files):05d}.jsonl")
            handle, size = files[-1].open("w", encoding="ascii", newline="\n"), 0
        text = "\n".join(map(encode, document)) + "\n"
        handle.write(text)
        size += len(text)
        lines += len(document)
    if handle is not None:
        handle.close()
    return files, lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--orders", type=int, default=200_000)
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--one-file", action="store_true", help="one file instead of parts of 64 MB")
    options = arguments.parse_args()
    files, lines = generate(options.orders, options.folder, options.seed, None if options.one_file else PART_BYTES)
    print(f"{lines:,} lines, {sum(file.stat().st_size for file in files):,} bytes in {len(files)} file(s)")


if __name__ == "__main__":
    main()
