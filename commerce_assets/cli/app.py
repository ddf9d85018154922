"""The commands: each parses, calls a room, prints. Imports are late so that each command starts fast."""

import json
import sys
from typing import Annotated

import typer

from commerce_assets.cli import events, sandbox, score, segment, sync
from commerce_assets.cli.output import Json, as_table, show
from commerce_assets.config import load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="commerce_assets: a retailer's data platform on Dagster, dbt and DuckDB.",
)
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows that broke a contract: list, show, replay.")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(events.webhooks_app, name="webhooks")
app.add_typer(events.dlq_app, name="dlq")
app.add_typer(score.app, name="score")
app.add_typer(segment.app, name="segment")
app.add_typer(sync.app, name="sync")
for command in (events.serve, events.worker, events.status, events.trace):
    app.command()(command)


def main() -> None:
    """Entry point: known errors are one line on stderr and exit code 1, never a traceback."""
    try:
        app()
    except Exception as error:
        if not _is_known(error):
            raise
        _fail(str(error))


def _is_known(error: Exception) -> bool:
    """One of the rooms' own named errors: its message already says what to do."""
    return type(error).__module__.startswith("commerce_assets.")


def _fail(message: str) -> None:
    print(f"commerce: {message}", file=sys.stderr)
    raise SystemExit(1)


@app.command()
def run(
    full: Annotated[bool, typer.Option(help="Pull every order day again.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the Dagster UI; default COMMERCE_PORT or 3000.")] = None,
) -> None:
    """Run the main job on the configured shop or the embedded sandbox store, then serve the Dagster UI."""
    from commerce_assets.cli import demo as demo_runner

    settings = load_settings()
    raise SystemExit(demo_runner.run_and_serve(settings, full=full, port=port or settings.port))


@app.command()
def demo(
    scale: Annotated[float, typer.Option(help="Size of the sandbox store when it is filled for the first time.")] = 1.0,
    full: Annotated[bool, typer.Option(help="Pull every order day again.")] = False,
    as_json: Json = False,
) -> None:
    """Run the main job once, print the summary; exit code 1 when anything failed."""
    from commerce_assets.cli import demo as demo_runner

    raise SystemExit(demo_runner.run_demo(load_settings(), scale=scale, full=full, as_json=as_json))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is configured, reachable and permitted, and what to do about what is not."""
    from commerce_assets.cli.doctor import examine, render

    findings = examine(load_settings())
    print(json.dumps([finding.as_dict() for finding in findings], indent=2) if as_json else render(findings))
    raise SystemExit(0 if all(finding.is_ok for finding in findings) else 1)


@app.command()
def publish(
    rollback: Annotated[bool, typer.Option("--rollback", help="Put the version before the current one back in place.")] = False,
    to: Annotated[str | None, typer.Option(help="With --rollback: the version to put back.")] = None,
    as_json: Json = False,
) -> None:
    """Publish the built warehouse for BI tools, or roll back to an older version."""
    from commerce_assets.cli import demo as demo_runner
    from commerce_assets.warehouse import rollback_warehouse

    settings = load_settings()
    if not rollback:
        raise SystemExit(demo_runner.run_publish(settings, as_json=as_json))
    show(rollback_warehouse(settings, to).as_dict(), as_json, as_table)


@quarantine_app.command("list")
def quarantine_list(
    family: Annotated[str | None, typer.Option(help="Only this document family, such as orders.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this table, such as order_lines.")] = None,
    as_json: Json = False,
) -> None:
    """Count what is in quarantine, by table and rule."""
    from commerce_assets.cli import quarantine

    counts = quarantine.counts(load_settings(), family, table)
    print(json.dumps(counts, indent=2) if as_json else quarantine.render_counts(counts))


@quarantine_app.command("show")
def quarantine_show(
    table: Annotated[str | None, typer.Argument(help="Table to show; default all.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule.")] = None,
    load_id: Annotated[str | None, typer.Option("--load", help="Only rows of this load.")] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.")] = 20,
    unmasked: Annotated[bool, typer.Option(help="Show personal data and card numbers too.")] = False,
    as_json: Json = False,
) -> None:
    """Show quarantined rows with the rules they broke and where they came from; personal data masked."""
    from commerce_assets.cli import quarantine

    rows = quarantine.rows(load_settings(), table=table, rule=rule, load_id=load_id, limit=limit, unmasked=unmasked)
    print(json.dumps(rows, indent=2, default=str) if as_json else quarantine.render_rows(rows))


@quarantine_app.command("replay")
def quarantine_replay(
    family: Annotated[str | None, typer.Option(help="Only this document family, such as orders.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this table, such as order_lines.")] = None,
    as_json: Json = False,
) -> None:
    """Land quarantined documents again, after a fix of a contract or of the data; repeating it does nothing more."""
    from commerce_assets.cli import quarantine

    done = quarantine.replay(load_settings(), family, table)
    print(json.dumps(done, indent=2) if as_json else quarantine.render_replay(done))
