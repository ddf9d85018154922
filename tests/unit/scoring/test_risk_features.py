"""What is known of an order when it is placed: counts of its keys' history, its value among earlier ones, and nothing that came later."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.risk import RiskSettings
from commerce_assets.scoring.risk.evidence import evidence_points, pieces
from commerce_assets.scoring.risk.features import FEATURES, order_features
from commerce_assets.scoring.risk.orders import checked_orders
from commerce_assets.scoring.risk.windows import KeyHistory

AS_OF = date(2026, 6, 30)
START = datetime(2026, 1, 1, tzinfo=UTC)
MATURITY_DAYS = 120
SCHEMA: dict[str, Any] = {
    "order_id": pl.Int64,
    "customer_id": pl.Int64,
    "ordered_at": pl.Datetime("us", "UTC"),
    "total_amount": pl.Decimal(18, 4),
    "currency_code": pl.String,
    "email_key": pl.String,
    "ip_key": pl.String,
    "shipping_country_code": pl.String,
    "billing_country_code": pl.String,
    "shipping_postal_code": pl.String,
    "billing_postal_code": pl.String,
    "payment_failures_count": pl.Int64,
    "source_name": pl.String,
    "is_chargeback": pl.Boolean,
    "charged_back_at": pl.Datetime("us", "UTC"),
}


def order(order_id: int, hours: float, **columns: Any) -> dict[str, Any]:
    usual = {"total_amount": Decimal(20), "currency_code": "GBP", "is_chargeback": False}
    return {**dict.fromkeys(SCHEMA), **usual, "order_id": order_id, "ordered_at": START + timedelta(hours=hours), **columns}


def features_of(*orders: dict[str, Any], risk: RiskSettings | None = None) -> pl.DataFrame:
    usable, _ = checked_orders(pl.DataFrame(orders, schema=SCHEMA), AS_OF, label_maturity_days=MATURITY_DAYS)
    return order_features(usable, risk or RiskSettings())


def test_windows_count_the_earlier_orders_of_the_key_only() -> None:
    keys = pl.Series(["a", "a", "b", "a", None, "a"])
    history = KeyHistory(keys, np.array([0, 100, 100, 3_700, 3_700, 3_701], dtype=np.int64))
    assert history.counts(3_600).tolist() == [0, 1, 0, 1, 0, 1], "the edge of a window is in it; 3,701 - 3,600 is after 100"
    assert history.all_counts.tolist() == [0, 1, 0, 2, 0, 3]
    assert history.sums(np.array([5, 1, 9, 2, 7, 3]), 3_600).tolist() == [0, 5, 0, 1, 0, 2]


def test_other_buyers_are_counted_once_and_never_the_order_s_own() -> None:
    keys = pl.Series(["ip"] * 6)
    buyers = pl.Series(["x", "y", "x", "z", None, "y"])
    history = KeyHistory(keys, np.array([0, 10, 20, 30, 40, 50], dtype=np.int64))
    assert history.other_buyers(buyers, 1_000).tolist() == [0, 1, 1, 2, 3, 2]
    assert history.other_buyers(buyers, 25).tolist() == [0, 1, 1, 1, 1, 1], "who came first longer ago is not new on the key"


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 50), st.sampled_from(["x", "y", None])), max_size=25),
    window=st.integers(0, 60),
)
def test_windows_agree_with_counting_one_by_one(rows: list[tuple[str | None, int, str | None]], window: int) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    keys, seconds, buyers = ([row[part] for row in rows] for part in range(3))
    history = KeyHistory(pl.Series(keys, dtype=pl.String), np.array(seconds, dtype=np.int64))
    counts, others = history.counts(window), history.other_buyers(pl.Series(buyers, dtype=pl.String), window)
    for place, (key, second, buyer) in enumerate(rows):
        same = [(s, b) for k, s, b in rows[:place] if k == key and key is not None]
        assert counts[place] == sum(s >= second - window for s, _ in same)
        first = {b: s for s, b in reversed(same) if b is not None}
        assert others[place] == sum(s >= second - window for b, s in first.items() if b != buyer)


ORDER = st.fixed_dictionaries(
    {
        "customer_id": st.one_of(st.none(), st.integers(1, 4)),
        "email_key": st.sampled_from(["e1", "e2", None]),
        "ip_key": st.sampled_from(["i1", "i2", None]),
        "shipping_country_code": st.sampled_from(["GB", "FR", None]),
        "total_amount": st.decimals("0", "900", places=2),
        "payment_failures_count": st.integers(0, 3),
        "is_chargeback": st.sampled_from([True, False, None]),
    }
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 4_000), ORDER), min_size=1, max_size=30), cut=st.integers(1, 30), seed=st.integers(0, 999))
def test_no_later_order_and_no_order_of_rows_changes_what_was_known(rows: list[Any], cut: int, seed: int) -> None:
    orders = [order(number, hours, **columns) for number, (hours, columns) in enumerate(rows)]
    risk = RiskSettings(value_min_orders=2)
    whole = features_of(*orders, risk=risk)
    earliest = sorted(orders, key=lambda each: (each["ordered_at"], each["order_id"]))[:cut]
    assert features_of(*earliest, risk=risk).select(FEATURES).equals(whole.select(FEATURES).head(cut))
    shuffled = pl.DataFrame(orders, schema=SCHEMA).sample(fraction=1, shuffle=True, seed=seed).to_dicts()
    assert features_of(*shuffled, risk=risk).equals(whole)
    points = evidence_points(whole, risk)
    assert points.select(pl.all().is_finite().all()).row(0) == (True,) * points.width
    assert whole.select(piece.sentence.is_not_null().all().alias(piece.name) for piece in pieces(risk)).row(0) == (True,) * points.width


def test_a_chargeback_is_known_from_the_day_it_came_or_once_its_order_is_mature() -> None:
    first = order(1, 0, customer_id=7, is_chargeback=True)
    later = [order(2, 24 * 30, customer_id=7), order(3, 24 * 119, customer_id=7), order(4, 24 * 121, customer_id=7)]
    counts = features_of(first, *later)["earlier_chargebacks_count"].to_list()
    assert counts == [0, 0, 0, 1]
    dated = {**first, "charged_back_at": START + timedelta(days=29)}
    assert features_of(dated, *later)["earlier_chargebacks_count"].to_list() == [0, 1, 1, 1]


def test_a_chargeback_after_the_as_of_day_is_not_known_yet() -> None:
    orders = pl.DataFrame([order(1, 0, is_chargeback=True, charged_back_at=datetime(2026, 7, 1, 1, tzinfo=UTC))], schema=SCHEMA)
    known, _ = checked_orders(orders, AS_OF, label_maturity_days=MATURITY_DAYS)
    assert known.select("is_chargeback", "chargeback_known_at", "is_mature").row(0) == (False, None, True)
    next_day, _ = checked_orders(orders, date(2026, 7, 1), label_maturity_days=MATURITY_DAYS)
    assert next_day["is_chargeback"].to_list() == [True]


def test_a_young_order_without_chargeback_has_no_outcome() -> None:
    young = (AS_OF - START.date()).days * 24
    known, _ = checked_orders(pl.DataFrame([order(1, young), order(2, 0)], schema=SCHEMA), AS_OF, label_maturity_days=MATURITY_DAYS)
    assert known.select("order_id", "is_chargeback").rows() == [(2, False), (1, None)]


def test_value_is_ranked_among_the_weeks_before_in_its_currency() -> None:
    earlier = [order(n, n, total_amount=Decimal(10 * 2**n)) for n in range(4)]  # 10, 20, 40, 80
    same_week = order(10, 30, total_amount=Decimal(9999))
    later = order(11, 24 * 8, total_amount=Decimal(40))
    other_currency = order(12, 24 * 8, total_amount=Decimal(40), currency_code="EUR")
    found = features_of(*earlier, same_week, later, other_currency, risk=RiskSettings(value_min_orders=5))
    assert found["value_rank_rate"].to_list() == [None] * 5 + [(2 + 0.5) / 5, None], "two smaller, one equal of five"
    assert found["value_ratio"].to_list()[5] == pytest.approx(1.0), "the median of 10, 20, 40, 80 and 9,999 is 40"


def test_a_key_that_has_long_been_busy_is_no_lead_and_one_busy_since_today_is() -> None:
    office = [order(n, n, ip_key="office") for n in range(60)]
    attack = [order(100 + n, 24 * 10 + n / 60, ip_key="attack") for n in range(60)]
    found = features_of(*office, *attack, order(200, 24 * 10 + 1, ip_key="office"))
    last = found.filter(pl.col("order_id").is_in([159, 200])).select("order_id", "ip_orders_1h_count", "ip_orders_7d_count")
    assert last.rows() == [(159, 59, 59), (200, 0, 0)]


def test_addresses_differ_by_country_or_within_one_by_postal_code() -> None:
    places = [("GB", "GB", "1", "1"), ("GB", "GB", "1", "2"), ("GB", "FR", "1", "2"), (None, None, "1", "2"), ("GB", None, "1", None)]
    names = ("shipping_country_code", "billing_country_code", "shipping_postal_code", "billing_postal_code")
    found = features_of(*(order(n, n, **dict(zip(names, place, strict=True))) for n, place in enumerate(places)))
    assert found["is_country_mismatch"].to_list() == [False, False, True, None, None]
    assert found["is_postcode_mismatch"].fill_null(False).to_list() == [False, True, False, True, False]


def test_staff_and_their_tills_are_not_taken_for_buyers() -> None:
    found = features_of(order(1, 0, ip_key="till"), order(2, 0.1, ip_key="till", source_name="pos", payment_failures_count=3))
    assert found.select("ip_orders_1h_count", "payment_failures_count", "is_night", "is_staffed").row(1) == (0, None, False, True)


def test_orders_that_cannot_be_used_are_counted_by_reason() -> None:
    rows = [
        order(1, 0),
        order(1, 0),
        order(2, 0, total_amount=None),
        order(3, 0, currency_code=None),
        order(4, 24 * 400),
        {**order(5, 0), "ordered_at": None},
        {**order(6, 0), "order_id": None},
        order(7, 0, total_amount=Decimal(-1)),
    ]
    usable, excluded = checked_orders(pl.DataFrame(rows, schema=SCHEMA), AS_OF, label_maturity_days=MATURITY_DAYS)
    assert usable["order_id"].to_list() == [1]
    assert excluded == {"after_as_of": 1, "duplicate_order": 1, "no_amount": 2, "no_currency": 1, "no_order_id": 1, "no_ordered_at": 1}


def test_wrong_columns_are_refused_by_name() -> None:
    orders = pl.DataFrame([order(1, 0)], schema=SCHEMA)
    for wrong, message in (
        (orders.drop("currency_code"), "currency_code"),
        (orders.with_columns(pl.col("total_amount").cast(pl.Float64)), "total_amount is Float64"),
        (orders.with_columns(pl.col("ordered_at").dt.replace_time_zone(None)), "ordered_at is .*time zone"),
        (orders.with_columns(email_key=pl.lit([1])), "cannot be read"),
    ):
        with pytest.raises(ScoringError, match=message):
            checked_orders(wrong, AS_OF, label_maturity_days=MATURITY_DAYS)


@pytest.mark.parametrize(
    "wrong", [{"min_chargebacks": 0}, {"review_capacity_rate": 0}, {"medium_from_score": 60}, {"night_hours": (5, 5)}, {"score_days": 0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ScoringError):
        RiskSettings(**wrong)
