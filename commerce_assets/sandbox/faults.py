"""Faults on demand: what goes wrong between a client and a store, by rate or by schedule.

`--faults FILE` is JSON:

    {"seed": 7, "faults": [
        {"kind": "http_503", "rate": 0.05},
        {"kind": "throttled", "nth": [3, 4]},
        {"kind": "cut_connection", "on": "download", "nth": [1]},
        {"kind": "bulk_failed_partial", "nth": [1], "after_objects": 100},
        {"kind": "slow", "rate": 0.1, "seconds": 2, "match": "orders", "times": 5}]}

Each entry has a `kind`, and either a `rate` (0 to 1, decided by the seed) or `nth` (a list: the how-manieth request of the entry's
class since the start, from 1). `times` bounds how often it strikes; `match` limits it to requests whose GraphQL text (or path)
contains that; `on` names the class where a kind can strike several: `graphql`, `download`, `token`, `upload`.

| kind | strikes | what happens |
| --- | --- | --- |
| `http_500`, `http_503` | any class (default `graphql`) | that status, an HTML body |
| `http_429` | any class (default `graphql`) | 429 with `Retry-After: <seconds, default 1>` |
| `throttled` | graphql | HTTP 200, code THROTTLED, the bucket emptied |
| `timeout` | any class | no answer for `seconds` (default 60), then the connection is closed |
| `slow` | any class | the answer comes `seconds` (default 1) late |
| `cut_connection` | any class | the body breaks off in the middle (`at`: share, default 0.5) |
| `wrong_version` | graphql | `X-Shopify-API-Version` names `version` (default the oldest supported) |
| `token_expired` | graphql | 401 although the token is good |
| `url_expired` | download | 400 with Google's ExpiredToken XML |
| `bulk_failed_partial` | each bulk query | FAILED, INTERNAL_SERVER_ERROR, `partialDataUrl` with `after_objects` (default 10) lines |
| `bulk_slow` | each bulk query | stays RUNNING for `seconds` (default 2) longer |
| `jsonl_truncated` | each bulk query | COMPLETED, but the file lacks its end, from the middle of a line on (`at`: share, default 0.9) |
| `jsonl_corrupted` | each bulk query | COMPLETED, but line `line` (default 2) is not JSON |
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

ANYWHERE = frozenset({"http_500", "http_503", "http_429", "timeout", "slow", "cut_connection"})
BULK = frozenset({"bulk_failed_partial", "bulk_slow", "jsonl_truncated", "jsonl_corrupted"})
KINDS: dict[str, str] = {
    **dict.fromkeys(ANYWHERE, "graphql"),
    "throttled": "graphql",
    "wrong_version": "graphql",
    "token_expired": "graphql",
    "url_expired": "download",
    **dict.fromkeys(BULK, "bulk"),
}
CLASSES = frozenset({"graphql", "download", "token", "upload"})
OPTIONS = frozenset({"kind", "rate", "nth", "times", "match", "on", "seconds", "at", "version", "after_objects", "line"})


class FaultsError(Exception):
    """The faults file says something that cannot be done; the message says what."""


@dataclass
class Fault:
    """One entry of the file, with how often it was asked and how often it struck."""

    kind: str
    where: str
    rate: float | None
    nth: frozenset[int]
    times: int | None
    match: str | None
    options: dict[str, Any]
    asked: int = 0
    struck: int = 0

    def option(self, name: str, default: Any) -> Any:
        """A further option of the entry."""
        return self.options.get(name, default)


@dataclass
class Faults:
    """All faults of a server; safe to ask from many threads."""

    entries: list[Fault] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        """Start the dice."""
        self._dice = random.Random(self.seed)
        self._lock = threading.Lock()

    def strike(self, where: str, text: str = "") -> list[Fault]:
        """The faults that strike the next request of a class (`graphql`, `download`, `token`, `upload`, `bulk`)."""
        found: list[Fault] = []
        with self._lock:
            for entry in self.entries:
                if entry.where != where or (entry.match is not None and entry.match not in text):
                    continue
                entry.asked += 1
                hit = entry.asked in entry.nth if entry.rate is None else self._dice.random() < entry.rate
                if hit and (entry.times is None or entry.struck < entry.times):
                    entry.struck += 1
                    found.append(entry)
        return found


def parse_faults(content: Any) -> Faults:
    """Faults from the file's content; `FaultsError` where it is not as the module's docstring says."""
    if not isinstance(content, dict) or not isinstance(content.get("faults"), list):
        raise FaultsError('a faults file is an object with a list "faults"')
    entries = []
    for number, raw in enumerate(content["faults"], start=1):
        if not isinstance(raw, dict) or raw.get("kind") not in KINDS:
            raise FaultsError(f"fault {number}: kind must be one of {', '.join(sorted(KINDS))}")
        unknown = set(raw) - OPTIONS
        if unknown:
            raise FaultsError(f"fault {number}: unknown option {', '.join(sorted(unknown))}")
        if ("rate" in raw) == ("nth" in raw):
            raise FaultsError(f'fault {number}: give either "rate" or "nth"')
        kind = raw["kind"]
        where = raw.get("on", KINDS[kind])
        if where != KINDS[kind] and (kind not in ANYWHERE or where not in CLASSES):
            raise FaultsError(f"fault {number}: {kind} cannot strike {where!r}")
        rate = raw.get("rate")
        if rate is not None and not 0 <= rate <= 1:
            raise FaultsError(f"fault {number}: rate is between 0 and 1")
        nth = raw.get("nth", [])
        nth = [nth] if isinstance(nth, int) else nth
        if not all(isinstance(item, int) and item > 0 for item in nth):
            raise FaultsError(f"fault {number}: nth is a list of numbers from 1")
        entries.append(Fault(kind, where, rate, frozenset(nth), raw.get("times"), raw.get("match"), raw))
    return Faults(entries, int(content.get("seed", 0)))


def read_faults(path: Path | str | None) -> Faults:
    """Faults from a file; none where no file is given."""
    if path is None:
        return Faults()
    try:
        return parse_faults(orjson.loads(Path(path).read_bytes()))
    except OSError as problem:
        raise FaultsError(f"faults file {path}: {problem.strerror}") from problem
    except orjson.JSONDecodeError as problem:
        raise FaultsError(f"faults file {path} is not JSON: {problem}") from problem


# -- faults of webhook deliveries

FATES = frozenset({"duplicate", "reorder", "lose", "malformed"})
HOLD_SECONDS = 2.0


@dataclass(frozen=True)
class Fate:
    """What goes wrong with one delivery. `duplicate_seconds` is when it comes a second time, None for never."""

    is_lost: bool = False
    is_malformed: bool = False
    hold_seconds: float = 0.0
    duplicate_seconds: float | None = None


@dataclass(frozen=True)
class WebhookFaults:
    """Faults of deliveries (`--webhook-faults "duplicate=0.01,reorder=0.05,lose=0.001"`), the same for the same seed.

    Shares of all deliveries, from 0 to 1: `duplicate` come twice, `reorder` are held back so that later ones overtake them, `lose`
    never come (nobody is told), `malformed` come cut in half (and signed as they are). `delay` holds every delivery for up to that
    many seconds, `hold` is how long held and repeated ones wait at most (2 seconds), `seed` throws other dice.
    """

    duplicate: float = 0.0
    reorder: float = 0.0
    lose: float = 0.0
    malformed: float = 0.0
    delay: float = 0.0
    hold: float = HOLD_SECONDS
    seed: int = 0

    def fate(self, number: int) -> Fate:
        """What goes wrong with delivery `number`; asking again gives the same."""
        if not (self.duplicate or self.reorder or self.lose or self.malformed or self.delay):
            return Fate()
        dice = random.Random(self.seed * 1_000_003 + number)
        lost, malformed, held, twice = (dice.random() < share for share in (self.lose, self.malformed, self.reorder, self.duplicate))
        waits = (dice.random(), dice.random(), dice.random())
        hold = waits[0] * self.delay + (waits[1] * self.hold if held else 0.0)
        return Fate(lost, malformed, hold, waits[2] * self.hold if twice else None)


def parse_webhook_faults(text: str | None) -> WebhookFaults:
    """Faults of deliveries from `name=value,…`; none where nothing is given, `FaultsError` where it cannot be read."""
    values: dict[str, float] = {}
    for part in (text or "").replace(" ", "").split(","):
        if not part:
            continue
        name, _, value = part.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            raise FaultsError(f"webhook faults: {part!r} is not name=number") from None
    unknown = set(values) - {*FATES, "delay", "hold", "seed"}
    if unknown:
        raise FaultsError(f"webhook faults: {', '.join(sorted(unknown))} is unknown: use {', '.join(sorted(FATES))}, delay, hold, seed")
    if any(not 0 <= values.get(name, 0) <= 1 for name in FATES) or any(value < 0 for value in values.values()):
        raise FaultsError("webhook faults: shares are between 0 and 1, seconds are not negative")
    seed = int(values.pop("seed", 0))
    return WebhookFaults(**values, seed=seed)
