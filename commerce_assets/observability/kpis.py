"""The few figures that somebody must be told of now: backlog, dead letters, stock that differs. Pure functions over the copies.

Belongs here: figures with a threshold behind them, for asset checks. Does not belong here: what people look at over time
(dbt_project/models/ops), the live figures of a running receiver (`/metrics`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

OPEN_STATES = ("stored", "pending", "batched")
SHOWN = 10


@dataclass(frozen=True)
class Backlog:
    """Events not at their end, in all and by lane: how many, and how long the oldest has waited."""

    depth: int
    age_seconds: float
    by_lane: Mapping[str, tuple[int, float]]


@dataclass(frozen=True)
class DeadLetters:
    """Events that could not be taken in, by topic and reason."""

    count: int
    by_topic_and_reason: tuple[tuple[str, str, int], ...]
    """The most frequent first."""


@dataclass(frozen=True)
class Drift:
    """Shelves (items at locations) whose figure on the storefront is not ours; `lasting` ones have differed for longer than is tolerated."""

    shelves: int
    different: int
    lasting: int
    units: int
    """Units by which the lasting ones differ, up and down added up."""
    longest_seconds: float
    worst: tuple[Mapping[str, object], ...]


def backlog(events: pl.DataFrame, now: datetime) -> Backlog:
    """The backlog of copied events."""
    waiting = events.filter(pl.col("state").is_in(OPEN_STATES)).with_columns(
        age_seconds=(pl.lit(now) - pl.col("stored_at")).dt.total_microseconds() / 1e6
    )
    lanes = waiting.group_by("lane").agg(pl.len().alias("depth"), pl.col("age_seconds").max()).sort("lane")
    by_lane = {lane: (int(depth), float(age)) for lane, depth, age in lanes.iter_rows()}
    return Backlog(waiting.height, max((age for _, age in by_lane.values()), default=0.0), by_lane)


def dead_letters(events: pl.DataFrame) -> DeadLetters:
    """The dead letters among copied events."""
    dead = events.filter(pl.col("state") == "dead")
    counts = (
        dead.group_by("topic", pl.col("reason").fill_null("unknown"))
        .agg(pl.len().alias("events"))
        .sort(["events", "topic", "reason"], descending=[True, False, False])
    )
    return DeadLetters(dead.height, tuple((topic, reason, int(events)) for topic, reason, events in counts.head(SHOWN).iter_rows()))


def drift(shelves: pl.DataFrame, now: datetime, tolerated_seconds: float) -> Drift:
    """How far the storefront's stock is from ours. A difference lasts since the later of the two figures changed; those that are tolerated by policy are none."""
    compared = shelves.filter("is_active", pl.col("seen_quantity").is_not_null() & pl.col("available_quantity").is_not_null())
    different = compared.with_columns(
        units=pl.col("seen_quantity") - pl.col("available_quantity") - pl.col("tolerated_difference").fill_null(0),
        seconds=(pl.lit(now) - pl.max_horizontal("seen_at", "target_changed_at")).dt.total_microseconds() / 1e6,
    ).filter(pl.col("units") != 0)
    lasting = different.filter(pl.col("seconds") > tolerated_seconds)
    worst = lasting.sort([pl.col("units").abs(), pl.col("item_id")], descending=[True, False]).head(SHOWN)
    return Drift(
        shelves.height,
        different.height,
        lasting.height,
        int(lasting["units"].abs().sum()),
        float(lasting.select(pl.col("seconds").max().fill_null(0.0)).item()),
        tuple(worst.select("sku", "item_id", "location_id", "units", pl.col("seconds").round(0)).to_dicts()),
    )
