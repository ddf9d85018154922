"""`commerce score`: customers scored from a plain file, all scores against their baselines, and the receipts in force."""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from commerce_assets.cli.output import Json, show
from commerce_assets.config import load_settings

app = typer.Typer(no_args_is_help=True, help="Scores: try them on a file, hold them against their baselines, read their receipts.")

TransactionsFile = Annotated[
    Path | None, typer.Option("--transactions", help="CSV, Parquet or text in columns; a line is an order, or a line of one.")
]
Columns = Annotated[str | None, typer.Option(help='JSON: our name -> column of the file, e.g. {"customer": "Client", "amount": "Total"}.')]
Currency = Annotated[str | None, typer.Option(help="ISO 4217 code of amounts that name none, e.g. EUR; default XXX, no currency.")]
AsOf = Annotated[datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Day to score as of; default the last day there is.")]
SHOWN = (
    "order_count",
    "historic_value_amount",
    "predicted_value_amount",
    "alive_rate",
    "churn_rate",
    "next_order_expected_on",
    "vip_tier",
    "rfm_segment",
)


@app.command()
def customers(
    transactions: Annotated[Path, typer.Option(help="CSV, Parquet or text in columns; a line is an order, or a line of one.")],
    as_of: AsOf = None,
    horizon_days: Annotated[
        int | None, typer.Option(min=7, max=3650, help="How far value is predicted; default COMMERCE_VALUE_HORIZON_DAYS.")
    ] = None,
    columns: Columns = None,
    currency: Currency = None,
    limit: Annotated[int, typer.Option(min=0, help="Customers shown, the most valuable first; 0 shows all.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Write every customer to this .csv or .parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Score the customers of a transactions file: value, churn, next order, segment; exit code 1 when the receipt is refused."""
    from commerce_assets.service.scores.file_customers import score_file

    if out:
        _check_place(out, ".csv", ".parquet")
    settings = load_settings()
    if horizon_days is not None:
        settings = settings.model_copy(update={"value_horizon_days": horizon_days})
    scored = score_file(transactions, settings, columns=columns, currency=currency, as_of=_day(as_of))
    if out:
        _write(scored.customers, out)
    shown = scored.customers.head(limit) if limit else scored.customers
    show(
        scored.as_dict(shown),
        as_json,
        lambda _: scored.as_text(shown.select("customer", *(name for name in SHOWN if name in shown.columns))),
    )
    raise SystemExit(0 if scored.verdict.is_accepted else 1)


@app.command()
def backtest(
    transactions: TransactionsFile = None,
    as_of: AsOf = None,
    columns: Columns = None,
    currency: Currency = None,
    out: Annotated[Path | None, typer.Option(help="Write the page to this file instead of printing it.")] = None,
    as_html: Annotated[bool, typer.Option("--html", help="One HTML page with plots.")] = False,
    as_json: Json = False,
) -> None:
    """Hold every score against its naive baseline over time folds: on the configured shop's warehouse, or on a transactions file."""
    from commerce_assets.service.scores.backtesting import backtest_file, backtest_shop

    if as_html and as_json:
        raise typer.BadParameter("--html or --json, not both")
    if not transactions and (columns or currency):
        raise typer.BadParameter("--columns and --currency are said of a file: name it with --transactions")
    if out:
        _check_place(out)
    settings = load_settings()
    report = (
        backtest_file(transactions, settings, columns=columns, currency=currency, as_of=_day(as_of), say=_say)
        if transactions
        else backtest_shop(settings, as_of=_day(as_of), say=_say)
    )
    text = report.as_html() if as_html else json.dumps(report.as_dict(), indent=2, allow_nan=False) if as_json else report.as_text()
    if out:
        out.write_text(f"{text}\n", encoding="utf-8")
        _say(f"written to {out}")
    else:
        print(text)


@app.command()
def status(as_json: Json = False) -> None:
    """Say of every score what is in force: model, day, until when it may be pushed, and why the newest run was refused if it was."""
    from commerce_assets.lake import Lake
    from commerce_assets.service.scores.jobs import made_in
    from commerce_assets.service.scores.running import in_force, why_not_pushed

    settings, now = load_settings(), datetime.now(UTC)
    lake = Lake(settings.lake_root)
    rows: list[dict[str, Any]] = []
    for name in made_in(settings):
        receipt = in_force(lake, name)
        rows.append(
            {
                "score": name,
                "version": receipt.version if receipt else None,
                "as_of_on": receipt.as_of_on if receipt else None,
                "valid_until": receipt.valid_until if receipt else None,
                "not_to_be_pushed_because": why_not_pushed(lake, [name], now),
            }
        )
    show(rows, as_json, _status_lines)


def _status_lines(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'score':<26}{'version':<22}{'as of':<12}{'valid until (UTC)':<20}"]
    for row in rows:
        until = f"{row['valid_until']:%Y-%m-%d %H:%M}" if row["valid_until"] else ""
        lines.append(f"{row['score']:<26}{row['version'] or '-':<22}{row['as_of_on'] or '-'!s:<12}{until:<20}")
        lines += [f"  not to be pushed: {reason}" for reason in row["not_to_be_pushed_because"]]
    return "\n".join(lines)


def _check_place(out: Path, *suffixes: str) -> None:
    """Before anything is computed: can it be written there?"""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"--out: the folder {out.parent} does not exist")
    if suffixes and out.suffix not in suffixes:
        raise typer.BadParameter(f"--out: {out.name} has to end in {' or '.join(suffixes)}")


def _write(rows: pl.DataFrame, out: Path) -> None:
    if out.suffix == ".parquet":
        rows.write_parquet(out)
    else:
        flat = rows.with_columns(pl.col(name).list.join("; ") for name, dtype in rows.schema.items() if dtype == pl.List)
        flat.write_csv(out)
    _say(f"{rows.height:,} customers written to {out}")


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
