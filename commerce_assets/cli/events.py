"""The commands about events: the resident service, subscriptions, dead letters, an order's trace."""

import contextlib
import getpass
import json
import logging
import signal
import sys
import threading
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from commerce_assets.cli.output import Json, as_table, show
from commerce_assets.config import Settings, load_settings

webhooks_app = typer.Typer(no_args_is_help=True, help="The shop's webhook subscriptions.")
dlq_app = typer.Typer(no_args_is_help=True, help="Dead letters: events that could not be worked. List, show, replay, discard.")

Seqs = Annotated[list[int] | None, typer.Argument(help="Numbers of events, as `dlq list` shows them; default all that match.")]
Topic = Annotated[str | None, typer.Option(help="Only this topic, such as orders/updated.")]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason holds this text.")]
Object = Annotated[str | None, typer.Option("--object", help="Only this object, as a gid: gid://shopify/Order/1.")]
Since = Annotated[datetime | None, typer.Option(help="Only those received since (UTC).")]
Why = Annotated[str | None, typer.Option(help="Kept with the action.")]


class EventsCommandError(Exception):
    """The command cannot do what was asked; the message says what to do."""


def serve(
    worker: Annotated[bool, typer.Option(help="Also run the worker, in a process of its own that is started again when it ends.")] = True,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default COMMERCE_EVENTS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default COMMERCE_EVENTS_PORT.")] = None,
) -> None:
    """Receive webhooks and warehouse reports, and work them within seconds; until interrupted."""
    from commerce_assets.service.receiving import serve as receive

    settings = load_settings()
    settings = settings.model_copy(update={"events_host": host or settings.events_host, "events_port": port or settings.events_port})
    _log_to_stderr()
    # uvicorn raises the signal that stopped it once more; as an interrupt it lets the worker be ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        receive(settings, with_worker=worker, say=_say)


def worker(
    once: Annotated[bool, typer.Option("--once", help="Ask the shop what changed without an event, work all there is, then end.")] = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    timeout: Annotated[float, typer.Option(help="With --once: seconds after which it ends anyway.")] = 300,
    as_json: Json = False,
) -> None:
    """Work the inbox: into the lake, the books of stock and the storefront."""
    from commerce_assets.defs.events.reporter import DagsterReporter
    from commerce_assets.service.working import open_workshop, stop_with_parent

    settings = load_settings()
    _log_to_stderr()
    reporter = DagsterReporter(home=settings.dagster_home_path)
    with open_workshop(settings, reporter) as workshop:
        if once:
            status = workshop.drain(timeout)
            show(status.as_dict(), as_json, as_table)
            raise SystemExit(0 if status.is_drained else 1)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        if parent is not None:
            stop_with_parent(parent, stop)
        workshop.run(stop)


def status(as_json: Json = False) -> None:
    """How far the work is: lanes, backlog, states of events; whether or not a worker runs."""
    from commerce_assets.events.database import open_engine
    from commerce_assets.events.inbox import Inbox
    from commerce_assets.events.worker import worker_status

    settings = load_settings()
    with Inbox(settings.inbox_database) as inbox:
        shown = worker_status(inbox, open_engine(settings.events_database)).as_dict()
    show(shown, as_json, as_table)


def trace(order: Annotated[str, typer.Argument(help="An order's id, name (#1001) or gid.")], as_json: Json = False) -> None:
    """Every hop of an order, from the storefront to the push back; where it stopped and what moves it on."""
    from commerce_assets.observability.trace import trace_order

    found = trace_order(load_settings(), order)
    print(json.dumps(found.as_dict(), indent=2, default=str) if as_json else found.render())


@webhooks_app.command("sync")
def webhooks_sync(
    address: Annotated[str | None, typer.Option(help="https address of `commerce serve`; default COMMERCE_WEBHOOK_ADDRESS.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make the shop's subscriptions what is configured: shows the difference, then applies it."""
    from commerce_assets.service.subscribing import synchronise

    # For people before anything is changed; as JSON it is one document, at the end.
    announce = None if as_json else lambda diff: print(*diff.lines(), sep="\n", flush=True)
    diff = synchronise(load_settings(), address, dry_run=dry_run, announce=announce)
    if as_json:
        names = ("create", "update", "delete", "unchanged")
        counts = {name: len(getattr(diff, name)) for name in names} | {"is_applied": not dry_run and not diff.is_empty}
        show({**counts, "changes": diff.lines()}, as_json, as_table)


@dlq_app.command("list")
def dlq_list(
    topic: Topic = None,
    reason: Reason = None,
    gid: Object = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="Dead letters at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, those seen last first."""
    from commerce_assets.events import deadletters

    engine, wanted = _books(load_settings()), _filter(None, topic, reason, gid, since)
    letters = deadletters.list_dead(engine, wanted, limit)
    total = deadletters.count_dead(engine, wanted)
    show([asdict(letter) for letter in letters], as_json, lambda rows: _letters(rows, total))


@dlq_app.command("show")
def dlq_show(seq: Annotated[int, typer.Argument(help="Number of the event.")], as_json: Json = False) -> None:
    """Show an event, its state and its payload; what may be about a person is masked."""
    from commerce_assets.events import deadletters
    from commerce_assets.events.inbox import Inbox

    settings = load_settings()
    with Inbox(settings.inbox_database) as inbox:
        shown = deadletters.show(_books(settings), inbox, seq)
    show(asdict(shown), as_json, lambda event: json.dumps(event, indent=2, default=str))


@dlq_app.command("replay")
def dlq_replay(
    seqs: Seqs = None,
    topic: Topic = None,
    reason: Reason = None,
    gid: Object = None,
    since: Since = None,
    why: Why = None,
    as_json: Json = False,
) -> None:
    """Have dead letters worked again, after a fix; again does nothing more. A running worker takes them, or `commerce worker --once`."""
    from commerce_assets.events import deadletters

    wanted = _some(seqs, topic, reason, gid, since)
    count = deadletters.replay(_books(load_settings()), wanted, getpass.getuser(), why)
    show(
        {"replayed": count},
        as_json,
        lambda done: f"{done['replayed']} dead letters are worked again (`commerce worker --once` if no worker runs)",
    )


@dlq_app.command("discard")
def dlq_discard(
    seqs: Seqs = None,
    topic: Topic = None,
    reason: Reason = None,
    gid: Object = None,
    since: Since = None,
    why: Why = None,
    as_json: Json = False,
) -> None:
    """Put dead letters away for good; kept on record with who did it."""
    from commerce_assets.events import deadletters

    wanted = _some(seqs, topic, reason, gid, since)
    count = deadletters.discard(_books(load_settings()), wanted, getpass.getuser(), why)
    show({"discarded": count}, as_json, lambda done: f"{done['discarded']} dead letters discarded")


def _books(settings: Settings) -> Any:
    from commerce_assets.events.database import open_engine

    return open_engine(settings.events_database)


def _some(seqs: list[int] | None, topic: str | None, reason: str | None, gid: str | None, since: datetime | None) -> Any:
    if not any((seqs, topic, reason, gid, since)):
        raise EventsCommandError(
            "say which dead letters: their numbers, or --topic, --reason, --object or --since (`commerce dlq list` shows them)"
        )
    return _filter(seqs, topic, reason, gid, since)


def _filter(seqs: list[int] | None, topic: str | None, reason: str | None, gid: str | None, since: datetime | None) -> Any:
    from datetime import UTC

    from commerce_assets.events.deadletters import Filter

    object_type, object_id = None, None
    if gid is not None:
        kind, _, number = gid.removeprefix("gid://shopify/").partition("/")
        if not gid.startswith("gid://shopify/") or not number.isdecimal() or int(number[:20]) >= 2**63:
            raise EventsCommandError(f"{gid!r} is no gid; give it as gid://shopify/Order/1")
        object_type, object_id = kind, int(number)
    zoned = since.replace(tzinfo=since.tzinfo or UTC) if since else None
    return Filter(seqs or None, topic, None, reason, object_type, object_id, zoned)


def _letters(rows: list[dict[str, Any]], total: int) -> str:
    lines = [f"{total} dead letters" + (f", the latest {len(rows)}:" if total > len(rows) else "")]
    for row in rows:
        about = f"{row['object_type']}/{row['object_id']}" if row["object_id"] else row["object_type"]
        lines.append(
            f"  {row['seq']:>8}  {row['topic']:<28} {about:<28} {row['attempts']} tries, last {row['last_seen_at']:%Y-%m-%d %H:%M:%S}  {row['reason']}"
        )
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "dagster", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
