"""`commerce sync`: what a push would write, the push, what became of it, and how it is taken back, paused and set right."""

import getpass
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commerce_assets.cli.output import Json, as_table, show
from commerce_assets.config import Settings, load_settings

if TYPE_CHECKING:
    from commerce_assets.activation.undo import UndoReport
    from commerce_assets.service.syncs import PlannedSync

app = typer.Typer(invoke_without_command=True, help="Declared syncs: make, plan, apply, look back, undo, pause, set right.")
Name = Annotated[str, typer.Argument(help="A declared sync; `commerce sync status` lists them.")]
DEFAULT = "customer_scores"


@app.callback()
def push_customer_scores(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the counts; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Without a command: push customer scores; with --dry-run only show what would change."""
    if context.invoked_subcommand is None:
        raise SystemExit(_push(load_settings(), DEFAULT, dry_run=dry_run, as_json=as_json))


@app.command()
def plan(name: Name, as_json: Json = False) -> None:
    """Say what a push would write and cost, and keep it under an id for `apply --plan`; nothing is written to the shop."""
    from commerce_assets.cli.demo import say, storefront
    from commerce_assets.service.syncs import plan_sync, sync_named

    settings = load_settings()
    declared = sync_named(settings, name)
    with storefront(settings, scale=1.0, progress=say):
        planned = plan_sync(declared, settings, say)
    show(asdict(planned), as_json, lambda _: _plan_lines(planned))


@app.command()
def apply(
    name: Name,
    plan_id: Annotated[str | None, typer.Option("--plan", help="Only if what would be written is what this plan said.")] = None,
    as_json: Json = False,
) -> None:
    """Push, behind every gate; exit code 1 when anything was refused or failed."""
    raise SystemExit(_push(load_settings(), name, plan_id=plan_id, as_json=as_json))


@app.command()
def status(as_json: Json = False) -> None:
    """Say of every sync what its last run came to, whether it is paused, and whether its scores are in force."""
    from commerce_assets.service.syncs import status as status_of

    show(status_of(load_settings()), as_json, _status_lines)


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="Only this sync.")] = None,
    limit: Annotated[int, typer.Option(help="Runs at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest runs, pushes and undos alike, with what became of their records."""
    from commerce_assets.service.syncs import history as history_of
    from commerce_assets.service.syncs import sync_named

    settings = load_settings()
    rows = history_of(settings, sync_named(settings, name).name if name else None, limit)
    show(rows, as_json, _history_lines)


@app.command()
def undo(run_id: Annotated[str, typer.Argument(metavar="RUN", help="As `history` shows it.")], as_json: Json = False) -> None:
    """Give every record that still holds what a run wrote what it held before; then the sync is paused."""
    from commerce_assets.cli.demo import say, storefront
    from commerce_assets.service.syncs import undo_run

    settings = load_settings()
    with storefront(settings, scale=1.0, progress=say):
        report = undo_run(run_id, settings, _me(), say)
    show(asdict(report), as_json, lambda _: _undo_lines(report))
    raise SystemExit(1 if report.failed else 0)


@app.command()
def pause(
    name: Name,
    reason: Annotated[str, typer.Option(help="Shown to whoever meets the pause.")] = "no reason given",
    as_json: Json = False,
) -> None:
    """Refuse pushes of this sync until `resume`; one under way goes on to its end."""
    from commerce_assets.activation.ledger import Ledger
    from commerce_assets.activation.pauses import pause as pause_sync
    from commerce_assets.service.syncs import sync_named

    settings = load_settings()
    declared = sync_named(settings, name)
    with Ledger(settings.ops_url) as ledger:
        pause_sync(ledger, declared.as_sync(), _me(), reason)
    show({"sync": name, "paused": True, "reason": reason}, as_json, lambda _: f"{name} is paused; `commerce sync resume {name}` lifts it")


@app.command()
def resume(name: Name, as_json: Json = False) -> None:
    """Let pushes of this sync go on."""
    from commerce_assets.activation.ledger import Ledger
    from commerce_assets.activation.pauses import resume as resume_sync
    from commerce_assets.service.syncs import sync_named

    settings = load_settings()
    declared = sync_named(settings, name)
    with Ledger(settings.ops_url) as ledger:
        was_paused = resume_sync(ledger, declared.as_sync())
    said = f"{name} is pushed again from its next run on" if was_paused else f"{name} was not paused"
    show({"sync": name, "paused": False, "was_paused": was_paused}, as_json, lambda _: said)


@app.command()
def resync(name: Name, as_json: Json = False) -> None:
    """Read back what the destination holds instead of believing the ledger, then push: sets right what others changed."""
    from commerce_assets.activation.ledger import Ledger
    from commerce_assets.activation.pauses import refuse_when_paused
    from commerce_assets.cli.demo import say, storefront
    from commerce_assets.service.syncs import read_back, sync_named

    settings = load_settings()
    declared = sync_named(settings, name)
    with Ledger(settings.ops_url) as ledger:
        refuse_when_paused(ledger, declared.as_sync())
    with storefront(settings, scale=1.0, progress=say):
        report = read_back(declared, settings, _me(), say)
        say(f"resync: {report.read:,} {declared.target.plural} read, {report.differing:,} held something else, {report.gone:,} are gone")
        raise SystemExit(_push(settings, name, as_json=as_json, beside={"read_back": asdict(report)}))


@app.command()
def override(
    name: Name,
    gate: Annotated[str, typer.Argument(help="The gate's name, as the refusal says it.")],
    reason: Annotated[str, typer.Option(help="Why it may pass; stays on record.")],
    as_json: Json = False,
) -> None:
    """Let the next run of a sync pass one gate that is shut, once, on record."""
    from commerce_assets.service.syncs import override_gate, sync_named

    settings = load_settings()
    made = override_gate(sync_named(settings, name), gate, settings, _me(), reason)
    show(asdict(made), as_json, lambda _: f"the next run of {name} that finds {gate} shut passes it; permission {made.override_id}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The new sync's name: small letters, digits, _.")],
    to: Annotated[str, typer.Option(help="Destination: shopify, file, http or sql.")] = "shopify",
    relation: Annotated[
        str, typer.Option("--from", help="Mart with a row a customer: customer_360, customer_scores, dim_customer.")
    ] = "customer_360",
    columns: Annotated[str, typer.Option(help="Columns to send, joined by commas; none lists them.")] = "",
    as_json: Json = False,
) -> None:
    """Scaffold a sync: its declaration, its dbt model and the model's yml."""
    from commerce_assets.config import PROJECT_ROOT
    from commerce_assets.service.scaffold import new_sync

    settings = load_settings()
    sent = [column.strip() for column in columns.split(",") if column.strip()]
    made = new_sync(name, to, relation, sent, syncs_root=settings.syncs_root, dbt_project=PROJECT_ROOT / "dbt_project")
    lines = [f"  {path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path}" for path in made]
    hint = f"edit them, then `commerce sync build {name}`, `commerce sync plan {name}`, `commerce sync apply {name}`"
    show([str(path) for path in made], as_json, lambda _: "\n".join(["made", *lines, hint]))


@app.command()
def build(name: Name, as_json: Json = False) -> None:
    """Build and test a sync's dbt model, so that it can be planned; exit code 1 when that failed."""
    from commerce_assets.cli.demo import say
    from commerce_assets.pipeline import run_model

    stage = run_model(load_settings(), name, progress=say)
    said = "\n".join(stage.problems) or f"built in {stage.seconds:.1f} s; `commerce sync plan {name}` says what a push would write"
    show(asdict(stage), as_json, lambda _: said)
    raise SystemExit(0 if stage.is_ok else 1)


@app.command()
def check(as_json: Json = False) -> None:
    """Read every declared sync: mistakes with file and line, and no two syncs on one field."""
    from commerce_assets.service.syncs import declared_syncs

    found = {name: placed.place for name, placed in declared_syncs(load_settings()).items()}
    show(found, as_json, lambda _: "\n".join(f"{name:<32}{place}" for name, place in found.items()))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a declared sync, for editors."""
    from commerce_assets.activation.declarations import json_schema

    print(json.dumps(json_schema(), indent=2))


def _push(
    settings: Settings,
    name: str,
    *,
    dry_run: bool = False,
    plan_id: str | None = None,
    as_json: bool,
    beside: dict[str, Any] | None = None,
) -> int:
    from commerce_assets.cli.demo import say, storefront
    from commerce_assets.pipeline import run_push

    with storefront(settings, scale=1.0, progress=say):
        summary = run_push(settings, name=name, dry_run=dry_run, plan_id=plan_id, progress=say)
    print(json.dumps({**summary.as_dict(), **(beside or {})}, indent=2, default=str) if as_json else summary.render())
    return 0 if summary.is_ok else 1


def _me() -> str:
    return f"commerce sync ({getpass.getuser()})"


def _plan_lines(planned: "PlannedSync") -> str:
    cost = f"{planned.requests:,} requests, {planned.points:,} points at most ({planned.path})"
    if planned.seconds is not None:
        cost += f", about {planned.seconds:,.0f} s"
        cost += f" at {planned.points_a_second:g} points a second" if planned.points_a_second else ""
    lines = [f"plan {planned.plan_id} of {planned.sync}: nothing written", as_table(dict(planned.counts)), f"  {cost}"]
    lines += [f"  skipped, {reason}: {count:,}" for reason, count in planned.skipped.items()]
    lines += [f"  left the set and kept: {planned.kept:,}"] if planned.kept else []
    lines += [
        f"  {operation}  {key}  {', '.join(fields) or 'fields not known before reading'}"
        for operation, records in planned.sample.items()
        for key, fields in records.items()
    ]
    if planned.open_intents:
        lines.append(
            f"  {planned.open_intents:,} outcomes of an earlier run are open: a push reads them back first, and may then write less"
        )
    lines += [f"  GATE SHUT  {gate}" for gate in planned.gates]
    if planned.paused_because:
        lines.append(f"  the sync is paused: {planned.paused_because}")
    return "\n".join([*lines, f"`commerce sync apply {planned.sync} --plan {planned.plan_id}` writes exactly this"])


def _status_lines(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'sync':<26}{'to':<9}{'last run':<32}{'kind':<8}{'status':<13}{'open':>6}"]
    for row in rows:
        lines.append(
            f"{row['sync']:<26}{row['destination']:<9}{row['last_run'] or '-':<32}{row['last_kind'] or '-':<8}{row['last_status'] or '-':<13}{row['open_intents']:>6,}"
        )
        if row["paused_since"]:
            lines.append(f"  paused since {row['paused_since']:%Y-%m-%d %H:%M} UTC by {row['paused_by']}: {row['paused_because']}")
        lines += [f"  permission for gate {gate}, not used yet" for gate in row["overrides"]]
        lines += [f"  not to be pushed: {reason}" for reason in row["not_to_be_pushed_because"]]
    return "\n".join(lines)


def _history_lines(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "nothing was pushed yet"
    lines = [f"{'run':<32}{'sync':<26}{'kind':<8}{'status':<13}{'succeeded':>10}{'failed':>8}{'skipped':>9}{'unchanged':>11}"]
    for row in rows:
        counts = f"{row['succeeded_count']:>10,}{row['failed_count']:>8,}{row['skipped_count']:>9,}{row['unchanged_count']:>11,}"
        lines.append(f"{row['run_id']:<32}{row['sync']:<26}{row['kind']:<8}{row['status']:<13}{counts}")
        lines += [f"  undoes {row['of_run']}"] if row["of_run"] else []
        lines += [f"  {row['error']}"] if row["error"] else []
    return "\n".join(lines)


def _undo_lines(report: "UndoReport") -> str:
    lines = [
        f"undo of run {report.of_run}: {report.status}, run {report.run_id}",
        f"  {report.succeeded:,} of {report.changed:,} records hold again what they held before; {report.already:,} did already",
    ]
    if report.changed_since:
        lines.append(f"  {report.changed_since:,} changed since and left alone, e.g. {', '.join(report.changed_since_sample)}")
    lines += [f"  {report.gone:,} are gone"] if report.gone else []
    lines += [f"  FAILED {count:,}: {reason}" for reason, count in report.failure_reasons.items()]
    return "\n".join([*lines, f"{report.sync} is paused now: `commerce sync resume {report.sync}` lets its next push write again"])
