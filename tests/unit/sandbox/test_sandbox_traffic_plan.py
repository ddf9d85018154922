"""What buyers do is drawn from the seed and their place in the row, in the shares asked for."""

from decimal import Decimal

import pytest

from commerce_assets.sandbox.traffic_plan import Market, Shares, TrafficError, Variant, journey, order_input

MARKET = Market(
    "GBP",
    tuple(
        Variant(f"gid://shopify/ProductVariant/{n}", f"gid://shopify/InventoryItem/{n}", Decimal("9.99") + n, True) for n in range(1, 21)
    ),
    tuple((f"gid://shopify/Customer/{n}", f"c{n}@example.com") for n in range(1, 31)),
    ("gid://shopify/Location/1", "gid://shopify/Location/2"),
)
ORDERS = 4_000


def test_the_same_seed_gives_the_same_buyers_and_another_seed_others() -> None:
    first, again, other = ([journey(seed, index, MARKET, Shares()) for index in range(50)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_shares_are_kept() -> None:
    shares = Shares(refund=0.1, fulfil=0.8, cancel=0.05, restock=0.2, new_customer=0.4)
    buyers = [journey(3, index, MARKET, shares) for index in range(ORDERS)]
    found = {
        "refund": sum(buyer.refunds is not None for buyer in buyers) / ORDERS,
        "fulfil": sum(buyer.is_shipped for buyer in buyers) / ORDERS,
        "cancel": sum(buyer.is_cancelled for buyer in buyers) / ORDERS,
        "restock": sum(buyer.refills is not None for buyer in buyers) / ORDERS,
        "new_customer": sum("toUpsert" in buyer.customer for buyer in buyers) / ORDERS,
    }
    assert found == pytest.approx(vars(shares), abs=0.03)


def test_only_what_was_shipped_comes_back_and_never_more_than_was_bought() -> None:
    for index in range(500):
        buyer = journey(5, index, MARKET, Shares(refund=0.6, fulfil=0.6))
        if buyer.refunds:
            line, units = buyer.refunds
            assert buyer.is_shipped
            assert 1 <= units <= buyer.lines[line].quantity


def test_an_order_is_paid_in_full_with_its_tax_inside() -> None:
    buyers = [journey(7, index, MARKET, Shares()) for index in range(200)]
    assert 0 < sum(buyer.has_code for buyer in buyers) < 60
    for buyer in buyers:
        wanted = order_input(buyer, "GBP")
        lines = wanted["lineItems"]
        goods = sum(Decimal(line["priceSet"]["shopMoney"]["amount"]) * line["quantity"] for line in lines)
        postage = Decimal(wanted["shippingLines"][0]["priceSet"]["shopMoney"]["amount"])
        paid = Decimal(wanted["transactions"][0]["amountSet"]["shopMoney"]["amount"])
        assert abs(goods * (Decimal("0.9") if buyer.has_code else 1) + postage - paid) < Decimal("0.01")
        tax = sum(Decimal(line["taxLines"][0]["priceSet"]["shopMoney"]["amount"]) for line in [*lines, *wanted["shippingLines"]])
        assert abs(tax - paid / 6) <= Decimal("0.01") * (len(lines) + 1)


@pytest.mark.parametrize("shares", [{"refund": 1.5}, {"cancel": -0.1}, {"fulfil": 0.9, "cancel": 0.2}])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(TrafficError, match="share"):
        Shares(**shares)
