"""Figures of the receiver as Prometheus text.

Belongs here: the exposition format, and which figures there are. Does not belong here: measuring, and the warehouse's KPIs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from commerce_assets.events.inbox import DUPLICATE, REJECTED, STORED, TopicBacklog
from commerce_assets.events.topics import TOPICS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = (0.5, 0.9, 0.99)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True)
class Metric:
    """One metric with its samples."""

    name: str
    kind: str
    """counter, gauge or summary."""
    help: str
    samples: Sequence[tuple[str, Mapping[str, str], float]]
    """(suffix of the name, labels, value)."""


@dataclass(frozen=True)
class Progress:
    """How far the worker is, for whoever shows it; made by the room that knows the worker's books."""

    cursors: Mapping[str, int] = field(default_factory=dict)
    """Lane -> the `seq` through which it has worked; 0 where it says nothing."""
    metrics: Sequence[Metric] = ()
    """Further figures to show, such as the worker's lags and retries."""


def topic_cursors(progress: Progress) -> dict[str, int]:
    """Topic -> the `seq` through which its lane has worked."""
    return {topic.name: progress.cursors.get(topic.lane, 0) for topic in TOPICS.values()}


def inbox_metrics(totals: Mapping[tuple[str, str, str, str], int], backlog: Iterable[TopicBacklog], now: datetime) -> list[Metric]:
    """What the inbox says: what came in since ever (`Inbox.totals`), and what waits."""
    stored = {key: count for key, count in totals.items() if key[2] == STORED}
    repeated = {key: count for key, count in totals.items() if key[2] == DUPLICATE}
    refused = {key: count for key, count in totals.items() if key[2] == REJECTED}
    received = {
        key[:2]: stored.get((*key[:2], STORED, ""), 0) + repeated.get((*key[:2], DUPLICATE, ""), 0) for key in {**stored, **repeated}
    }
    waiting = list(backlog)
    return [
        Metric(
            "commerce_events_received_total",
            "counter",
            "Deliveries taken, repeated ones included.",
            [("", {"source": source, "topic": topic}, count) for (source, topic), count in sorted(received.items())],
        ),
        Metric(
            "commerce_events_duplicates_total",
            "counter",
            "Deliveries that had come before (retries of the sender, or repetition on the way).",
            [("", {"source": key[0], "topic": key[1]}, count) for key, count in sorted(repeated.items())],
        ),
        Metric(
            "commerce_events_rejected_total",
            "counter",
            "Deliveries refused, by reason.",
            [("", {"source": key[0], "topic": key[1], "reason": key[3]}, count) for key, count in sorted(refused.items())],
        ),
        Metric(
            "commerce_inbox_backlog_events",
            "gauge",
            "Events stored and not yet worked.",
            [("", {"topic": one.topic}, one.events) for one in waiting],
        ),
        Metric(
            "commerce_inbox_oldest_seconds",
            "gauge",
            "Age of the oldest event not yet worked.",
            [("", {"topic": one.topic}, max((now - one.oldest_received_at).total_seconds(), 0.0)) for one in waiting],
        ),
    ]


def summary(name: str, help: str, seconds: Iterable[float]) -> Metric:
    """Percentiles of the latest measurements."""
    ordered = sorted(seconds)
    samples: list[tuple[str, Mapping[str, str], float]] = [
        ("", {"quantile": str(quantile)}, ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]) for quantile in QUANTILES if ordered
    ]
    return Metric(name, "summary", help, [*samples, ("_sum", {}, sum(ordered)), ("_count", {}, len(ordered))])


def exposition(metrics: Iterable[Metric]) -> str:
    """Metrics in Prometheus' text format."""
    lines: list[str] = []
    for metric in metrics:
        lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
        for suffix, labels, value in metric.samples:
            inside = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{suffix}{f'{{{inside}}}' if inside else ''} {value}")
    return "\n".join([*lines, ""])
