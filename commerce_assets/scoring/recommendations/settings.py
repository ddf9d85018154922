"""Settings of recommendations, and the columns of their rows and tables."""

from dataclasses import asdict, dataclass
from typing import Literal

import polars as pl

from commerce_assets.scoring.errors import ScoringError

VERSION = "recommendations-1"
KINDS = ("complementary", "related")
ITEM_ITEM, POPULAR_IN_TYPE, REPEAT = "item_item", "popular_in_type", "repeat"
Held = Literal["auto", "include", "exclude"]
FallbackFor = Literal["related", "both", "none"]
_INSTANT = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class RecommendationSettings:
    """How lists are made.

    Damping, shrinkage, neighbours and repeat weight did best, none of them sharply, in `backtest` on a gift retailer's year and in a
    made-up shop. They were chosen on the hold-outs whose figures are told, which are a little too good for it.
    """

    list_size: int = 8
    """Products in a list at most."""
    min_support: int = 3
    """Orders (or customers) that have to hold both products of a pair."""
    popularity_damping: float = 0.6
    """How much a product's own popularity counts against it: 0 not at all (P(other | product)), 0.5 cosine, 1 fully (P(product | other))."""
    shrinkage: float = 10.0
    """Orders (or customers) together at which a pair's similarity counts half."""
    neighbours: int = 20
    """Of each product a customer holds, how many similar ones vote for his next purchase."""
    max_products_together: int = 500
    """An order (or customer) with more different products says nothing about pairs: a wholesaler's, or a mistake."""
    held: Held = "auto"
    """Whether a customer's list may hold what he has bought before; auto: as does better in the backtest."""
    held_margin: float = 0.05
    """How much better, relatively, with `auto`."""
    repeat_weight: float = 30.0
    """Of one full repeat purchase against one full similarity: where people buy again, that comes first."""
    repeat_half_life_days: int = 120
    """After so many days a purchase counts half towards buying the same again."""
    fallback_for: FallbackFor = "related"
    """Lists filled with popular products of the same type where evidence is short. A popular product of the same type is an alternative
    and seldom goes with the product, so complementary lists stay short unless wished otherwise."""
    fallback_size: int = 4
    """Up to so many products; 0: none."""
    popular_days: int = 60
    """Orders of the last so many days make a product popular."""
    backtest_days: int = 30
    """Of a hold-out."""
    backtest_folds: int = 3
    min_history_days: int = 90
    """Before the first fold."""
    max_backtest_customers: int = 5_000
    """Drawn with the seed where a hold-out has more."""
    min_gate_customers: int = 300
    """In all hold-outs together; of fewer, chance alone decides which list does better."""
    compare_als: bool = False
    """Also measure matrix factorisation (`implicit`, where installed) in the backtest. It is never used for lists: see `als`."""
    als_margin: float = 0.05
    """By how much ALS has to beat item-item, relatively, for the receipt to recommend a change."""
    valid_days: int = 7

    def __post_init__(self) -> None:
        counts = (self.list_size, self.min_support, self.neighbours, self.popular_days, self.repeat_half_life_days, self.valid_days)
        rates = (self.popularity_damping, self.held_margin, self.als_margin)
        if (
            min(*counts, self.backtest_days, self.backtest_folds, self.min_history_days, self.max_backtest_customers) < 1
            or self.list_size > 128
            or not 0 <= self.fallback_size <= self.list_size
            or self.max_products_together < 2
            or min(self.shrinkage, self.repeat_weight) < 0
            or not all(0 <= rate <= 1 for rate in rates)
            or self.held not in ("auto", "include", "exclude")
            or self.fallback_for not in ("related", "both", "none")
        ):
            raise ScoringError(f"recommendation settings out of range: {self}")

    @property
    def fallback_kinds(self) -> tuple[str, ...]:
        """Kinds of lists that are filled up."""
        return {"related": ("related",), "both": KINDS, "none": ()}[self.fallback_for]

    def as_dict(self) -> dict[str, float | int | str | bool]:
        """For the receipt."""
        return asdict(self)


_RECOMMENDATIONS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("product_id", pl.Int64(), "Product on whose page the list stands."),
    ("kind", pl.String(), "related (instead of it, or by the same customers) or complementary (in the same basket)."),
    ("rank", pl.Int64(), "Place in the list, from 1."),
    ("recommended_product_id", pl.Int64(), "Product recommended: active, in stock, no gift card."),
    ("score", pl.Float64(), "Similarity, 0 to 1; null where the product is there for its popularity."),
    ("support_count", pl.Int64(), "Orders (complementary) or customers (related) with both; of a popular product its recent orders."),
    ("reasons", pl.List(pl.String()), "Why it is in the list, in words."),
    ("model_name", pl.String(), "item_item, or popular_in_type where evidence was short."),
    ("as_of_on", pl.Date(), "Day the lists describe; later orders are not in them."),
    ("valid_until", _INSTANT, "Until when the row may be used."),
    ("scored_at", _INSTANT, "When the lists were made."),
)
RECOMMENDATION_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _RECOMMENDATIONS}
RECOMMENDATION_COLUMNS: dict[str, str] = {name: description for name, _, description in _RECOMMENDATIONS}

_NEXT_PURCHASES: tuple[tuple[str, pl.DataType, str], ...] = (
    ("customer_id", pl.Int64(), "Customer id (numeric part of the gid)."),
    ("rank", pl.Int64(), "Place in the list, from 1."),
    ("product_id", pl.Int64(), "Product he may buy next: active, in stock, no gift card."),
    ("score", pl.Float64(), "Sum of similarities to what he holds, and of the chance to buy it again; comparable within a list only."),
    ("reasons", pl.List(pl.String()), "Why it is in the list, in words."),
    ("model_name", pl.String(), "item_item, or repeat where he has bought it before."),
    ("as_of_on", pl.Date(), "Day the lists describe; later orders are not in them."),
    ("valid_until", _INSTANT, "Until when the row may be used."),
    ("scored_at", _INSTANT, "When the lists were made."),
)
NEXT_PURCHASE_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _NEXT_PURCHASES}
NEXT_PURCHASE_COLUMNS: dict[str, str] = {name: description for name, _, description in _NEXT_PURCHASES}
