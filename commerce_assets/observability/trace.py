"""Where an order is: every hop from the storefront to the push back, where it stopped, and the one command that safely moves it on.

Belongs here: putting the facts together and judging them. Does not belong here: reading them (facts.py), showing them (hops.py), the
same for all orders at once (dbt_project/models/ops/order_trace.sql).

An order that came by events is followed along one of them: the oldest that has not come to its end, else the newest that was applied.
An order that came by a pull has no event; its moments are those of the pull. Every command that is named here may be repeated.
"""

from collections.abc import Sequence
from datetime import datetime

from commerce_assets.config import Settings
from commerce_assets.events.books import APPLIED, BATCHED, DEAD, PENDING
from commerce_assets.observability import facts
from commerce_assets.observability.facts import EventFact, LandedFact, PushFact, RefusedFact, ScoreFact, WarehouseFact
from commerce_assets.observability.hops import PASSED, Hop, Outcome, Trace, with_latencies

WORK = "commerce worker --once"
"""Works what is in the inbox, after asking the shop what changed without an event."""
REPLAY_DEAD = "commerce dlq replay --object gid://shopify/Order/{order_id}"
REPLAY_QUARANTINE = "commerce quarantine replay --family orders"
BUILD = "commerce demo"
"""Pulls what is due, builds, scores, publishes and pushes."""
PUBLISH = "commerce publish"
PUSH = "commerce sync"
RECONCILIATION = "reconcile"
"""Source of an event that nobody sent: a reconciliation found the change."""


class OrderUnknownError(Exception):
    """No room knows the order."""


def trace_order(settings: Settings, order: str) -> Trace:
    """Every hop of an order given as id, gid or name; `OrderUnknownError` when nobody knows it."""
    order_id = facts.find_order_id(settings, order)
    if order_id is None:
        raise OrderUnknownError(
            f"no event, pull or quarantined row knows order {order!r}; if the shop has it, `{WORK}` or `{BUILD}` brings it in"
        )
    events = facts.event_facts(settings, order_id)
    landed = facts.landed_fact(settings, order_id)
    refused = facts.refused_facts(settings, order_id)
    if not events and landed is None and not refused:
        raise OrderUnknownError(
            f"no event, pull or quarantined row knows order {order_id}; if the shop has it, `{WORK}` or `{BUILD}` brings it in"
        )
    build, published = facts.build_fact(settings, order_id), facts.published_fact(settings, order_id)
    customer_id = landed.customer_id if landed else None
    score = facts.score_fact(settings, customer_id) if customer_id else None
    push = facts.push_fact(settings, customer_id) if customer_id else PushFact()
    event = followed(events, landed)
    hops = [
        *(_hops_of_event(event, landed, refused) if event else _hops_of_pull(landed, refused)),
        *_hops_in_warehouse(landed, build, published),
        *_hops_back(landed, build or published, score, push),
    ]
    return _judged(order_id, landed.order_name if landed else None, "events" if event else "pull", hops, events)


def followed(events: Sequence[EventFact], landed: LandedFact | None) -> EventFact | None:
    """The event that tells where the order is: the oldest that is not at its end, else the newest that was applied.

    None when there is no such event, or the storefront changed the order after it, which a pull then brought. A pull that brings the
    version of the event once more changes nothing: the event was there first.
    """
    stuck = [event for event in events if event.state in (facts.NOT_TAKEN, PENDING, BATCHED, DEAD)]
    if stuck:
        return stuck[0]
    applied = [event for event in events if event.state == APPLIED]
    newest = max(applied, key=lambda event: (event.triggered_at or event.received_at, event.seq), default=None)
    if newest is None or landed is None:
        return newest
    return None if landed.version_at > (newest.triggered_at or newest.received_at) else newest


def _hops_of_event(event: EventFact, landed: LandedFact | None, refused: Sequence[RefusedFact]) -> list[Hop]:
    names = {"topic": event.topic, "webhook_id": event.webhook_id, "source": event.source}
    hops = [
        Hop("emitted", Outcome.DONE, event.triggered_at, event.topic, names)
        if event.source != RECONCILIATION
        else Hop("emitted", Outcome.SKIPPED, detail="no webhook told of it: a reconciliation missed it and asked for it", facts=names),
        Hop("received", Outcome.DONE, event.received_at, f"by {event.source}, webhook id {event.webhook_id}"),
        Hop("stored", Outcome.DONE, event.stored_at, f"inbox event {event.seq}", {"seq": event.seq}),
    ]
    if event.state == facts.NOT_TAKEN:
        return [*hops, _waiting("validated", "no lane has taken it yet: is the worker running?"), _waiting("landed")]
    tried = f"{event.attempts} failed tries" if event.attempts else "not tried yet"
    if event.state == DEAD:
        return [
            *hops,
            Hop(
                "validated",
                Outcome.DEAD,
                event.decided_at,
                f"dead letter: {event.reason} ({event.attempts} tries)",
                {"reason": event.reason},
            ),
            _waiting("landed"),
        ]
    if event.state == PENDING:
        return [*hops, _waiting("validated", f"{event.reason or 'to be decided'} ({tried})"), _waiting("landed")]
    if event.state == BATCHED:
        return [*hops, Hop("validated", Outcome.DONE, event.decided_at, "decided"), _waiting("landed", f"in batch {event.batch_id}")]
    validated = _validated(event.decided_at, landed, refused)
    if landed is None:
        return [*hops, validated, Hop("landed", Outcome.DONE if validated.outcome is Outcome.DONE else Outcome.WAITING, event.landed_at)]
    place = {"file": event.source_file or landed.source_file, "line": event.line or landed.line, "partition": landed.partition}
    batch = f", batch {event.batch_id}" if event.batch_id else ""
    now = "" if event.source_file in (None, landed.source_file) else ", where a later load brought it again"
    detail = f"{place['file']}:{place['line']}{batch}, partition {place['partition']}{now}"
    return [
        *hops,
        validated,
        Hop("landed", Outcome.DONE, event.landed_at or landed.loaded_at, detail, {**place, "batch_id": event.batch_id}),
    ]


def _hops_of_pull(landed: LandedFact | None, refused: Sequence[RefusedFact]) -> list[Hop]:
    if landed is None:
        first = refused[0]
        return [
            Hop("emitted", Outcome.SKIPPED, detail="came by a pull: no event of it is in the inbox"),
            Hop("received", Outcome.DONE, first.loaded_at, f"by load {first.load_id}"),
            Hop(
                "stored",
                Outcome.DONE,
                first.loaded_at,
                f"{first.source_file}:{first.line}",
                {"file": first.source_file, "line": first.line},
            ),
            _validated(first.loaded_at, landed, refused),
            _waiting("landed"),
        ]
    place = {"file": landed.source_file, "line": landed.line, "partition": landed.partition}
    return [
        Hop("emitted", Outcome.DONE, landed.version_at, "changed on the storefront (updated_at); came by a pull"),
        Hop("received", Outcome.DONE, landed.loaded_at, "when the pull began to read"),
        Hop("stored", Outcome.DONE, landed.loaded_at, landed.source_file),
        _validated(landed.landed_at or landed.loaded_at, landed, refused),
        Hop(
            "landed",
            Outcome.DONE,
            landed.landed_at or landed.loaded_at,
            f"{landed.source_file}:{landed.line}, partition {landed.partition}",
            place,
        ),
    ]


def _validated(at: datetime | None, landed: LandedFact | None, refused: Sequence[RefusedFact]) -> Hop:
    """Accepted, refused whole, or accepted without some of its rows."""
    newest = [row for row in refused if row.loaded_at == refused[0].loaded_at and (landed is None or row.loaded_at >= landed.loaded_at)]
    if not newest:
        return Hop("validated", Outcome.DONE, at, "every row keeps its contract")
    rules = sorted({rule for row in newest for rule in row.rules})
    described = {
        "rules": rules,
        "rows": len(newest),
        "where": [{"table": row.table, "file": row.source_file, "line": row.line} for row in newest[:5]],
    }
    where = f"{newest[0].source_file}:{newest[0].line}"
    if any(row.table == "orders" for row in newest):
        return Hop("validated", Outcome.QUARANTINED, newest[0].loaded_at, f"refused for {', '.join(rules)} ({where})", described)
    tables = ", ".join(sorted({row.table for row in newest}))
    return Hop(
        "validated", Outcome.PARTIAL, at, f"{len(newest)} row(s) of {tables} in quarantine for {', '.join(rules)} ({where})", described
    )


def _hops_in_warehouse(landed: LandedFact | None, build: WarehouseFact | None, published: WarehouseFact | None) -> list[Hop]:
    """Staged, in the marts, published. Where the build file is being written, the published one speaks for it."""
    if landed is None:
        return [_waiting("staged"), _waiting("in_marts"), _waiting("published")]
    version = landed.version_at
    is_published = bool(published and _holds(published.mart_version_at, version))
    seen = build or (published if is_published else None)
    unknown = "the build file is being written, or does not exist yet; look again when it is done"
    staged = bool(seen and (_holds(seen.staged_version_at, version) if seen.is_build else is_published))
    in_marts = bool(seen and _holds(seen.mart_version_at, version))
    build_name = f"build {seen.build_id}" if seen and seen.build_id else "which build is not on record"
    built_at = seen.built_at if seen else None
    hops = [
        Hop("staged", Outcome.DONE, built_at, f"in {seen.file}" if seen else "")
        if staged
        else _waiting("staged", "" if build else unknown),
        Hop("in_marts", Outcome.DONE, built_at, build_name, {"build_id": seen.build_id if seen else None})
        if in_marts
        else _waiting("in_marts", "" if build else unknown),
    ]
    if not is_published or published is None:
        held = published and published.mart_version_at
        return [*hops, _waiting("published", f"the published file holds its version of {held:%Y-%m-%d %H:%M:%S}" if held else "")]
    first, current = published.first_published_version or published.published_version, published.published_version
    detail = f"version {first}" + (f", now {current}" if first != current else "")
    at = published.first_published_at or published.published_at
    return [*hops, Hop("published", Outcome.DONE, at, detail, {"version": first, "current_version": current})]


def _hops_back(landed: LandedFact | None, seen: WarehouseFact | None, score: ScoreFact | None, push: PushFact) -> list[Hop]:
    """The customer scored, the values pushed."""
    if landed is None:
        return [_waiting("scored"), _waiting("pushed")]
    if landed.customer_id is None:
        return [Hop("scored", Outcome.SKIPPED, detail="a guest's order"), Hop("pushed", Outcome.SKIPPED, detail="a guest's order")]
    since = seen.built_at if seen and seen.built_at and not seen.is_backfilled else landed.loaded_at
    if score is None:
        if seen is not None and seen.is_reportable is False:
            why = "not a reportable sale, and its customer has no other"
            return [Hop("scored", Outcome.SKIPPED, detail=why), Hop("pushed", Outcome.SKIPPED, detail=why)]
        return [_waiting("scored", f"customer {landed.customer_id} has no score yet"), _waiting("pushed")]
    if score.scored_at < since:
        stale = f"the scores are of {score.scored_at:%Y-%m-%d %H:%M:%S}, older than the order's version in the marts"
        return [_waiting("scored", stale), _waiting("pushed")]
    scored = Hop(
        "scored", Outcome.DONE, score.scored_at, f"customer {landed.customer_id}, as of {score.as_of_on}", {"as_of_on": str(score.as_of_on)}
    )
    return [scored, _pushed(score, push)]


def _pushed(score: ScoreFact, push: PushFact) -> Hop:
    if push.intended_at and push.intended_at >= score.scored_at and push.outcome != "succeeded":
        return _waiting("pushed", f"the push of it {push.outcome or 'has no outcome yet'}" + (f": {push.reason}" if push.reason else ""))
    values = dict(push.values or {})
    if push.held_since and push.held_since >= score.scored_at:
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        return Hop("pushed", Outcome.DONE, push.held_since, shown, {"values": values, "changed_fields": list(push.changed_fields)})
    if push.compared_at and push.compared_at >= score.scored_at:
        detail = "nothing to change: the storefront holds these values" if values else "not among those that are pushed"
        return Hop(
            "pushed", Outcome.DONE if values else Outcome.SKIPPED, push.compared_at, detail, {"values": values, "changed_fields": []}
        )
    return _waiting("pushed", "no push since it was scored")


def _judged(order_id: int, order_name: str | None, way: str, hops: list[Hop], events: Sequence[EventFact]) -> Trace:
    """The trace, with the first hop that did not pass and what moves it on."""
    position = next((index for index, hop in enumerate(hops) if hop.outcome not in PASSED), len(hops))
    shown = with_latencies([*hops[: position + 1], *(_of_version_before(hop) for hop in hops[position + 1 :])])
    every = tuple(event.as_dict() for event in events)
    if position == len(hops):
        return Trace(order_id, order_name, way, shown, events=every)
    stopped = shown[position]
    why = stopped.detail or f"not {stopped.name.replace('_', ' ')} yet"
    command = next_command(stopped.name, stopped.outcome, way).format(order_id=order_id)
    return Trace(order_id, order_name, way, shown, stopped.name, why, command, every)


def _of_version_before(hop: Hop) -> Hop:
    """A hop behind the one where the order stopped: what it did, it did with an earlier version."""
    return _waiting(hop.name, "done with an earlier version") if hop.outcome in (Outcome.DONE, Outcome.PARTIAL) else hop


def next_command(hop: str, outcome: Outcome, way: str) -> str:
    """What safely moves an order on from the hop where it stopped (`{order_id}` is to be filled in)."""
    if outcome is Outcome.DEAD:
        return REPLAY_DEAD
    if outcome is Outcome.QUARANTINED:
        return REPLAY_QUARANTINE
    if hop in ("validated", "landed") and way == "events":
        return WORK
    return {"published": PUBLISH, "pushed": PUSH}.get(hop, BUILD)


def _waiting(hop: str, why: str = "") -> Hop:
    return Hop(hop, Outcome.WAITING, detail=why)


def _holds(held: datetime | None, version: datetime) -> bool:
    """Whether a file holds the version or a newer one."""
    return held is not None and held >= version
