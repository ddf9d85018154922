"""An order's flight, hop by hop: plain records, and how they are shown.

Belongs here: what a hop is, text and JSON. Does not belong here: where the facts come from (facts.py) and what follows from them (trace.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

HOPS = ("emitted", "received", "stored", "validated", "landed", "staged", "in_marts", "published", "scored", "pushed")
"""The way of an order, in its order."""


class Outcome(StrEnum):
    """What became of a hop."""

    DONE = "done"
    PARTIAL = "partial"
    """Done, but a part stayed behind: some of the order's rows are in quarantine."""
    SKIPPED = "skipped"
    """Does not concern this order: a guest has no score, a pulled order no event."""
    WAITING = "waiting"
    QUARANTINED = "quarantined"
    DEAD = "dead"


PASSED = (Outcome.DONE, Outcome.PARTIAL, Outcome.SKIPPED)


@dataclass(frozen=True)
class Hop:
    """One hop. `latency_seconds` is the time since the hop before it that has a time."""

    name: str
    outcome: Outcome
    at: datetime | None = None
    detail: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    latency_seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "hop": self.name,
            "outcome": self.outcome.value,
            "at": self.at and self.at.isoformat(),
            "latency_seconds": self.latency_seconds,
            "detail": self.detail,
            **{name: value.isoformat() if isinstance(value, datetime) else value for name, value in self.facts.items()},
        }


@dataclass(frozen=True)
class Trace:
    """Where an order is. `stopped_at` and `next_command` are None when it has arrived everywhere it goes."""

    order_id: int
    order_name: str | None
    way: str
    """events or pull: how its newest version came."""
    hops: tuple[Hop, ...]
    stopped_at: str | None = None
    why: str | None = None
    next_command: str | None = None
    events: tuple[Mapping[str, Any], ...] = ()
    """Every event about it, oldest first: topic, state, times; never a body."""

    @property
    def order_gid(self) -> str:
        return f"gid://shopify/Order/{self.order_id}"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "order_id": self.order_id,
            "order_gid": self.order_gid,
            "order_name": self.order_name,
            "way": self.way,
            "stopped_at": self.stopped_at,
            "why": self.why,
            "next_command": self.next_command,
            "hops": [hop.as_dict() for hop in self.hops],
            "events": [
                {name: value.isoformat() if isinstance(value, datetime) else value for name, value in event.items()}
                for event in self.events
            ],
        }

    def render(self) -> str:
        """For people."""
        came = "by events" if self.way == "events" else "by a pull"
        lines = [f"order {self.order_name or '?'} ({self.order_gid}), came {came}", ""]
        lines += [f"  {'hop':<10} {'outcome':<12} {'at (UTC)':<24} {'took':>10}  detail"]
        lines += [
            f"  {hop.name:<10} {hop.outcome.value:<12} {_shown_moment(hop.at):<24} {_shown_seconds(hop.latency_seconds):>10}  {hop.detail}".rstrip()
            for hop in self.hops
        ]
        if self.events:
            lines += ["", f"  {len(self.events)} event(s):"]
            lines += [
                f"    {_shown_moment(event.get('triggered_at') or event.get('received_at')):<24} {event['topic']:<28} {event['state']:<12} {event.get('reason') or ''}".rstrip()
                for event in self.events
            ]
        lines.append("")
        if self.stopped_at is None:
            lines.append("arrived: nothing is left to do")
        else:
            lines.append(f"stopped at {self.stopped_at}: {self.why}")
            lines.append(f"next: {self.next_command}")
        return "\n".join(lines)


def with_latencies(hops: Sequence[Hop]) -> tuple[Hop, ...]:
    """The hops, each with the seconds since the last one before it that has a time; scoring does not wait for the publish."""
    before: dict[str, datetime] = {}
    found = []
    for hop in hops:
        earlier = [at for name, at in before.items() if not (name == "published" and hop.name in ("scored", "pushed"))]
        latency = round((hop.at - earlier[-1]).total_seconds(), 6) if hop.at and earlier else None
        found.append(replace(hop, latency_seconds=latency))
        if hop.at:
            before[hop.name] = hop.at
    return tuple(found)


def _shown_moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if at else "-"


def _shown_seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if abs(seconds) < 60:
        return f"{seconds:.3f} s"
    return f"{seconds / 60:.1f} min" if abs(seconds) < 5400 else f"{seconds / 3600:.1f} h"
