"""Pieces of evidence for and against an order, each with a weight in log-odds and a sentence; together the score used without labels.

The weights are judgement, not estimates: a point multiplies the odds of a chargeback by e. They say no more than what merchants' fraud
guides agree on, and are held against labels in the backtest as soon as a shop has any.
"""

from dataclasses import dataclass

import polars as pl

from commerce_assets.scoring.risk.features import KEYS
from commerce_assets.scoring.risk.settings import RiskSettings

KEY_WORDS = {
    "customer": "of the same customer",
    "email": "with the same email address",
    "phone": "with the same phone number",
    "ip": "with the same IP address",
    "postcode": "with the same shipping postal code",
}
WINDOW_WORDS = {"1h": "hour", "24h": "24 hours", "7d": "7 days"}
VELOCITY_POINTS = {"1h": 0.8, "24h": 0.4, "7d": 0.15}
"""Of each doubling of 1 + the orders within the window."""
WEAK_KEYS = {"postcode": 0.4}
"""A postal code is shared by neighbours: its orders count so much."""
MAX_VELOCITY_POINTS = 2.5


@dataclass(frozen=True)
class Piece:
    """One kind of evidence."""

    name: str
    features: tuple[str, ...]
    """Columns of `FEATURES` it is read from; a model's contribution of these is what it would say without them."""
    points: pl.Expr
    """Log-odds; 0 where there is no such evidence. Never null."""
    sentence: pl.Expr
    """In words for an analyst, for an order that has the evidence."""


def pieces(settings: RiskSettings) -> tuple[Piece, ...]:
    """All evidence, in the order in which equal points are told."""
    first, guest, rank = pl.col("is_first_order"), pl.col("is_guest"), pl.col("value_rank_rate").fill_null(0.5)
    country_differs, failures = _flag("is_country_mismatch"), _count("payment_failures_count")
    earlier_failures, matured = _count("earlier_failures_24h_count"), _count("matured_orders_count")
    times = pl.col("value_ratio").fill_null(1).round(1).cast(pl.String)
    value = _steps(rank, (0.9, 0.6), (0.95, 1.0), (0.99, 1.6))
    place_differs = country_differs | (guest & _flag("is_postcode_mismatch"))
    combined = first & (rank >= 0.9) & (place_differs | (failures > 0))
    return (
        Piece(
            "earlier_chargeback",
            ("earlier_chargebacks_count",),
            _steps(_count("earlier_chargebacks_count"), (1, 3.0)),
            _counted("earlier_chargebacks_count", "earlier order", "of this buyer charged back"),
        ),
        *(_velocity(window) for window in WINDOW_WORDS),
        Piece(
            "payment_failures",
            ("payment_failures_count",),
            (failures * 0.6).clip(0, 2.4),
            _counted("payment_failures_count", "payment", "failed before this order was paid"),
        ),
        Piece(
            "earlier_failures",
            ("earlier_failures_24h_count",),
            (earlier_failures * 0.4).clip(0, 1.6),
            _counted("earlier_failures_24h_count", "payment", "failed on linked orders within 24 hours"),
        ),
        Piece(
            "high_value",
            ("value_rank_rate", "value_ratio"),
            value * pl.when(first).then(1.0).otherwise(0.4),
            pl.format("{}, {} times the usual value", pl.when(first).then(pl.lit("a first order")).otherwise(pl.lit("an order")), times),
        ),
        Piece(
            "combination",
            (),
            combined.cast(pl.Float64) * 1.0,
            pl.lit("a first order of high value together with an address that differs or a failed payment"),
        ),
        Piece("country_mismatch", ("is_country_mismatch",), country_differs * 1.2, pl.lit("billed in another country than shipped to")),
        Piece(
            "postcode_mismatch",
            ("is_postcode_mismatch",),
            _flag("is_postcode_mismatch") * 0.3,
            pl.lit("billing and shipping postal codes differ"),
        ),
        _reuse("email_reuse", "email_other_customers_count", "other customer", "used this email address", (1, 0.5), (3, 1.2)),
        _reuse("phone_reuse", "phone_other_buyers_count", "other buyer", "used this phone number", (1, 0.4), (3, 1.2)),
        _reuse(
            "ip_reuse",
            "ip_other_buyers_count",
            "other buyer",
            f"ordered from this IP address within {settings.ip_days} days",
            (2, 0.5),
            (4, 1.0),
            (8, 1.5),
        ),
        Piece(
            "rare_country",
            ("country_share_rate",),
            _steps(-pl.col("country_share_rate").fill_null(1.0), (-0.01, 0.5)),
            pl.lit("shipped to a country with less than 1 % of the orders before"),
        ),
        Piece("first_order", ("is_first_order", "earlier_orders_count"), first * 0.3, pl.lit("nothing was ordered by this buyer before")),
        Piece("guest", ("is_guest",), guest * 0.2, pl.lit("bought as a guest")),
        Piece("gift_card", ("is_gift_card_order",), _flag("is_gift_card_order") * 0.6, pl.lit("a gift card is among the goods")),
        Piece(
            "many_units",
            ("unit_count",),
            _steps(_count("unit_count"), (settings.bulk_units, 0.2)),
            pl.format("{} units in one order", _count("unit_count")),
        ),
        Piece("round_amount", ("is_round_amount",), _flag("is_round_amount") * 0.2, pl.lit("a round total")),
        Piece("night", ("is_night",), _flag("is_night") * 0.2, pl.lit("placed at night")),
        Piece(
            "known_buyer",
            ("matured_orders_count",),
            # Whose old order was charged back is no known good buyer.
            _steps(pl.when(_count("earlier_chargebacks_count") == 0).then(matured).otherwise(0), (1, -1.0), (3, -1.6)),
            _counted("matured_orders_count", "order", f"of this buyer older than {settings.label_maturity_days} days without a chargeback"),
        ),
        Piece("in_person", ("is_staffed",), pl.col("is_staffed") * -2.0, pl.lit("taken by the shop's own staff")),
    )


def evidence_points(features: pl.DataFrame, settings: RiskSettings) -> pl.DataFrame:
    """Log-odds points by piece, one column each, in the order of the orders."""
    return features.select(piece.points.cast(pl.Float64).alias(piece.name) for piece in pieces(settings))


def _velocity(window: str) -> Piece:
    """Orders of the key that has most of them, each window told of only by what the shorter windows do not hold already."""
    shorter = list(WINDOW_WORDS)[: list(WINDOW_WORDS).index(window)]
    columns = [f"{key}_orders_{window}_count" for key in KEYS]
    weighted = [_count(column) * WEAK_KEYS.get(key, 1.0) for key, column in zip(KEYS, columns, strict=True)]
    most = pl.max_horizontal(weighted)
    within_shorter = (
        pl.max_horizontal(_count(f"{key}_orders_{shorter[-1]}_count") * WEAK_KEYS.get(key, 1.0) for key in KEYS) if shorter else pl.lit(0.0)
    )
    doublings = (1 + most).log(2) - (1 + within_shorter).log(2)
    told = pl.coalesce(
        pl.when((count == most) & (count > 0)).then(
            _counted(column, "earlier order", f"{KEY_WORDS[key]} within the {WINDOW_WORDS[window]} before")
        )
        for key, column, count in zip(KEYS, columns, weighted, strict=True)
    )
    no_order = pl.lit(f"no linked order within the {WINDOW_WORDS[window]} before")
    points = (doublings * VELOCITY_POINTS[window]).clip(0, MAX_VELOCITY_POINTS)
    return Piece(f"velocity_{window}", tuple(columns), points, pl.coalesce(told, no_order))


def _reuse(name: str, column: str, one: str, words: str, *steps: tuple[float, float]) -> Piece:
    return Piece(name, (column,), _steps(_count(column), *steps), _counted(column, one, words))


def _count(column: str) -> pl.Expr:
    return pl.col(column).fill_null(0)


def _flag(column: str) -> pl.Expr:
    return pl.col(column).fill_null(False)


def _counted(column: str, one: str, words: str) -> pl.Expr:
    count = _count(column)
    return pl.format(f"{{}} {{}} {words}", count, pl.when(count == 1).then(pl.lit(one)).otherwise(pl.lit(f"{one}s")))


def _steps(value: pl.Expr, *steps: tuple[float, float]) -> pl.Expr:
    """The points of the last step the value reaches; 0 below the first."""
    points = pl.lit(0.0)
    for at_least, given in steps:
        points = pl.when(value >= at_least).then(given).otherwise(points)
    return points
