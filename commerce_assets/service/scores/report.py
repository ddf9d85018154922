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
from commerce_assets.scoring.receipts import Fold, Scored, Verdict, jsonable, judge
from commerce_assets.scoring.rfm import MONEY
from commerce_assets.service.scores.running import Inputs, Moment, ScoreJob
from commerce_assets.service.scores.transactions_file import Transactions

Say = Callable[[str], None]
_LINE = "{:<25}{:<31}{:<30}{:>10}  {:<29}{:>10}  {}"


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
    def is_better(self) -> bool | None:
        """None where the baseline is an aim: there is nothing to be better than."""
        if self.better == "nearer":
            return None
        return self.value <= self.baseline_value if self.better == "lower" else self.value >= self.baseline_value

    @property
    def in_words(self) -> str:
        """How it came out: better, worse, or how far from its aim."""
        if self.is_better is None:
            away = self.value - self.baseline_value
            return f"{abs(away):.2g} {'above' if away > 0 else 'below'} its aim" if away else "at its aim"
        return "better" if self.is_better else "WORSE"

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
    not_drawn: str | None = None
    """Why there are no plots, where drawing them failed."""

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
        """What strict JSON can hold: a figure that is no number is null."""
        return {
            "source": self.source,
            "as_of_on": self.as_of.isoformat(),
            "about": dict(self.about),
            "scores": [jsonable(entry.as_dict()) for entry in self.entries],
        }

    def as_text(self) -> str:
        """A table for a terminal."""
        about = [f"{name}: {value}" for name, value in self.about.items()]
        titles = _LINE.format("score", "metric", "model", "value", "baseline", "value", "").rstrip()
        lines = [f"{self.source}, as of {self.as_of}", *about, "", titles]
        for entry in self.entries:
            if entry.problem:
                lines.append(f"{entry.score:<25}{entry.problem}")
            elif not entry.figures:
                lines.append(f"{entry.score:<25}no backtest: {_why_none(entry)}")
            for figure in entry.figures:
                metric = f"{figure.metric} *" if figure.is_gate else figure.metric
                folds = "1 fold" if len(figure.folds) == 1 else f"{len(figure.folds)} folds"
                mark = f"{figure.in_words}, {folds}"
                values = f"{figure.value:.4g}", f"{figure.baseline_value:.4g}"
                lines.append(_LINE.format(entry.score, metric, figure.model, values[0], figure.baseline, values[1], mark))
            if entry.verdict and not entry.verdict.is_accepted:
                lines.append(f"{entry.score:<25}REFUSED: {'; '.join(entry.verdict.reasons)}")
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
    """Folds put together by metric and model, in the order in which they come. A score that had too little history for its model in its first
    folds, and a simpler one there, is judged by all of them: they are one figure of both models, not two."""
    every = tuple(folds)
    models: dict[tuple[str, str, int], set[str]] = {}
    for fold in every:
        models.setdefault((fold.metric, fold.baseline, fold.fold), set()).add(fold.model)
    rivals = {(metric, baseline) for (metric, baseline, _), found in models.items() if len(found) > 1}
    together: dict[tuple[str, str, str], list[Fold]] = {}
    for fold in every:
        model = fold.model if (fold.metric, fold.baseline) in rivals else ""
        together.setdefault((fold.metric, fold.baseline, model), []).append(fold)
    return [
        Figure(metric, ", ".join(dict.fromkeys(f.model for f in some)), baseline, some[0].better, any(f.is_gate for f in some), tuple(some))
        for (metric, baseline, _), some in together.items()
    ]


def _entry(job: ScoreJob, inputs: Inputs) -> Entry:
    started = time.monotonic()
    try:
        scored = job.score(inputs)
    except ScoringError as error:
        return Entry(job.name, time.monotonic() - started, problem=str(error))
    bounds = replace(job.bounds(inputs.settings), max_input_age=None)
    beside = {name: scored.tables[name] for name in job.tables}
    verdict = judge(scored.receipt, scored.rows, None, bounds, inputs.moment.scored_at, beside=beside)
    seconds = time.monotonic() - started
    try:
        return Entry(job.name, seconds, scored, verdict, plots=dict(job.plots(inputs, scored)))
    except Exception as error:  # a picture that cannot be drawn must not take the page with it
        return Entry(job.name, seconds, scored, verdict, not_drawn=f"{type(error).__name__}: {error}")


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
