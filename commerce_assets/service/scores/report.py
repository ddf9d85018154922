"""All scores against their baselines over time folds, on one page: from the shop's warehouse, or from a plain file of transactions.

Belongs here: which scores can be made of what is there, their figures put together, as JSON and as HTML. Does not belong here: how a score
is backtested (its own module in `scoring` does, and its receipt says).
"""

import base64
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib.resources import files
from typing import Any

import polars as pl

from commerce_assets.config import Settings
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Fold, Scored, Verdict, judge
from commerce_assets.scoring.rfm import MONEY
from commerce_assets.service.scores.running import Inputs, Moment, ScoreJob
from commerce_assets.service.scores.transactions_file import Transactions

Say = Callable[[str], None]
_LINE = "{:<25}{:<29}{:<26}{:>10}  {:<29}{:>10}  {}"


@dataclass(frozen=True)
class Figure:
    """One metric of one model against its baseline, over the folds."""

    metric: str
    model: str
    baseline: str
    better: str
    is_gate: bool
    folds: tuple[Fold, ...]

    @property
    def value(self) -> float:
        return sum(fold.value for fold in self.folds) / len(self.folds)

    @property
    def baseline_value(self) -> float:
        return sum(fold.baseline_value for fold in self.folds) / len(self.folds)

    @property
    def is_better(self) -> bool:
        return self.value <= self.baseline_value if self.better == "lower" else self.value >= self.baseline_value

    def as_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "model": self.model,
            "value": self.value,
            "baseline": self.baseline,
            "baseline_value": self.baseline_value,
            "better": self.better,
            "is_better": self.is_better,
            "is_gate": self.is_gate,
            "folds": [
                {
                    "fold": f.fold,
                    "cutoff_on": f.cutoff_on.isoformat(),
                    "until_on": f.until_on.isoformat(),
                    "value": f.value,
                    "baseline_value": f.baseline_value,
                }
                for f in self.folds
            ],
        }


@dataclass(frozen=True)
class Entry:
    """One score on the page; `problem` where it could not be made."""

    score: str
    seconds: float
    scored: Scored | None = None
    verdict: Verdict | None = None
    problem: str | None = None
    plots: Mapping[str, bytes] | None = None

    @property
    def figures(self) -> list[Figure]:
        return figures_of(self.scored.receipt.backtest) if self.scored else []

    def as_dict(self) -> dict[str, Any]:
        if self.scored is None:
            return {"score": self.score, "problem": self.problem}
        receipt = self.scored.receipt
        return {
            "score": self.score,
            "model": receipt.model,
            "version": receipt.version,
            "rows": receipt.rows,
            "fallback": receipt.fallback,
            "is_accepted": self.verdict.is_accepted if self.verdict else None,
            "refused_because": list(self.verdict.reasons) if self.verdict else [],
            "figures": [figure.as_dict() for figure in self.figures],
            "receipt": receipt.as_dict(),
        }


@dataclass(frozen=True)
class BacktestReport:
    """The page."""

    source: str
    as_of: date
    entries: tuple[Entry, ...]
    about: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "as_of_on": self.as_of.isoformat(),
            "about": dict(self.about),
            "scores": [entry.as_dict() for entry in self.entries],
        }

    def as_text(self) -> str:
        """A table for a terminal."""
        lines = [
            f"{self.source}, as of {self.as_of}",
            "",
            f"{'score':<24}{'metric':<30}{'model':<24}{'value':>10}  {'baseline':<20}{'value':>10}",
        ]
        for entry in self.entries:
            if entry.problem:
                lines.append(f"{entry.score:<25}{entry.problem}")
            elif not entry.figures:
                lines.append(f"{entry.score:<25}no backtest: {_why_none(entry)}")
            for figure in entry.figures:
                metric = f"{figure.metric} *" if figure.is_gate else figure.metric
                mark = f"{'better' if figure.is_better else 'WORSE'}, {len(figure.folds)} folds"
                values = f"{figure.value:.4g}", f"{figure.baseline_value:.4g}"
                lines.append(_LINE.format(entry.score, metric, figure.model, values[0], figure.baseline, values[1], mark))
        return "\n".join([*lines, "", "* decides whether the score may be used"])

    def as_html(self) -> str:
        """One page that needs nothing else: figures, folds, receipts, plots."""
        from jinja2 import Environment

        template = (files("commerce_assets.service.scores") / "report.html.jinja").read_text(encoding="utf-8")
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters["image"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
        environment.filters["figure"] = lambda number: f"{number:,.4g}"
        return environment.from_string(template).render(report=self, why_none=_why_none)


def backtest(
    jobs: Iterable[ScoreJob],
    frames: Mapping[str, pl.DataFrame],
    settings: Settings,
    moment: Moment,
    *,
    source: str,
    about: Mapping[str, Any] | None = None,
    say: Say = lambda _: None,
) -> BacktestReport:
    """Make every score whose inputs are among `frames`, and collect what their receipts say of their folds."""
    entries = []
    for job in jobs:
        reads = {*job.queries, *job.uses}
        if not reads <= set(frames):
            continue
        say(f"{job.name} …")
        entries.append(_entry(job, Inputs({name: frames[name] for name in reads}, None, settings, moment)))
    return BacktestReport(source, moment.as_of, tuple(entries), about or {})


def frames_of(transactions: Transactions) -> dict[str, pl.DataFrame]:
    """The inputs of scores that a file of transactions holds; a product stands for its one variant, sold from one place."""
    frames = {"orders": transactions.orders, "daily_metrics": _daily_metrics(transactions)}
    if transactions.lines is None or transactions.products is None:
        return frames
    lines, products = transactions.lines, transactions.products
    sales = (
        lines.group_by(
            pl.col("product_id").alias("variant_id"), pl.lit(1, pl.Int64).alias("location_id"), pl.col("ordered_on").alias("sold_on")
        )
        .agg(pl.col("unit_count").sum())
        .sort("variant_id", "sold_on")
    )
    prices = lines.group_by("product_id").agg(
        (pl.col("amount").sum() / pl.col("unit_count").sum()).round(4).cast(MONEY).alias("price_amount"),
        pl.col("ordered_on").min().alias("created_on"),
    )
    known = products.join(prices, on="product_id", how="inner").sort("product_id")
    return {
        **frames,
        "lines": lines.select(
            "order_id", "customer_id", "product_id", "ordered_on", "unit_count", pl.lit(False).alias("is_returned_whole")
        ),
        "products": products.select(
            "product_id",
            pl.format("gid://shopify/Product/{}", "product_id").alias("product_gid"),
            pl.col("product").alias("title"),
            pl.lit("none").alias("product_type"),
            pl.lit("active").alias("status"),
            pl.lit(False).alias("is_deleted"),
            pl.lit(False).alias("is_gift_card"),
            pl.lit(None, pl.Int64).alias("available_count"),
        ),
        "sales": sales,
        "stock_history": pl.DataFrame(
            schema={"variant_id": pl.Int64, "location_id": pl.Int64, "snapshot_on": pl.Date, "available_count": pl.Int64}
        ),
        "variants": known.select(
            pl.col("product_id").alias("variant_id"), "product_id", pl.lit("none").alias("product_type"), "created_on", "price_amount"
        ),
    }


def figures_of(folds: Iterable[Fold]) -> list[Figure]:
    """Folds put together by metric and model, in the order in which they come."""
    found: dict[tuple[str, str, str], list[Fold]] = {}
    for fold in folds:
        found.setdefault((fold.metric, fold.model, fold.baseline), []).append(fold)
    return [
        Figure(metric, model, baseline, some[0].better, any(fold.is_gate for fold in some), tuple(some))
        for (metric, model, baseline), some in found.items()
    ]


def _entry(job: ScoreJob, inputs: Inputs) -> Entry:
    started = time.monotonic()
    try:
        scored = job.score(inputs)
    except ScoringError as error:
        return Entry(job.name, time.monotonic() - started, problem=str(error))
    bounds = replace(job.bounds(inputs.settings), max_input_age=None)
    verdict = judge(scored.receipt, scored.rows, None, bounds, inputs.moment.scored_at)
    return Entry(job.name, time.monotonic() - started, scored, verdict, plots=dict(job.plots(inputs, scored)))


def _daily_metrics(transactions: Transactions) -> pl.DataFrame:
    """Orders and revenue by day."""
    days = (
        transactions.orders.group_by(pl.col("ordered_on").alias("day_on"), "currency_code")
        .agg(pl.len().cast(pl.Float64).alias("orders"), pl.col("net_amount").sum().cast(MONEY).alias("money_amount"))
        .with_columns(revenue=pl.col("money_amount").cast(pl.Float64))
        .unpivot(["orders", "revenue"], index=["day_on", "currency_code", "money_amount"], variable_name="metric", value_name="value")
    )
    return days.select("metric", pl.lit("all").alias("channel"), "day_on", "value", "money_amount", "currency_code").sort(
        "metric", "day_on", "currency_code"
    )


def _why_none(entry: Entry) -> str:
    if entry.scored is None:
        return entry.problem or ""
    receipt = entry.scored.receipt
    said = next((note.removeprefix("no backtest: ") for note in receipt.notes if note.startswith("no backtest")), None)
    return receipt.fallback or said or "it says what happened and predicts nothing"
