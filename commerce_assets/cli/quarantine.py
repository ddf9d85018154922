"""`commerce quarantine …`: rows that broke a contract, counted, shown and landed again."""

from typing import Any

import polars as pl

from commerce_assets import contracts
from commerce_assets.config import Settings
from commerce_assets.lake import Lake, quarantine_rows


def _lake(settings: Settings) -> Lake:
    lake = Lake(settings.lake_root)
    lake.ensure()
    lake.recover()
    return lake


def counts(settings: Settings, family: str | None, table: str | None) -> list[dict[str, Any]]:
    """Quarantined rows by family, table and rule; a row that broke two rules counts under both."""
    rows = quarantine_rows(_lake(settings), family=family, table=table)
    return (
        rows.select("family", "table", pl.col("failed_rules").alias("rule"))
        .explode("rule")
        .group_by("family", "table", "rule")
        .agg(pl.len().alias("rows"))
        .sort("family", "table", "rule")
        .to_dicts()
    )


def rows(
    settings: Settings, *, table: str | None, rule: str | None, load_id: str | None, limit: int, unmasked: bool
) -> list[dict[str, Any]]:
    """Quarantined rows, newest load first."""
    found = quarantine_rows(_lake(settings), table=table, rule=rule, load_id=load_id, limit=limit, unmasked=unmasked)
    return found.select("table", "row_key", "failed_rules", "load_id", "_source_file", "_line", "row").to_dicts()


def replay(settings: Settings, family: str | None, table: str | None) -> list[dict[str, Any]]:
    """Land the quarantined documents of every family (or one, or one table) again; what became of them, by family."""
    from commerce_assets.lake.replay import replay as replay_family
    from commerce_assets.sources.shopify.mapping import MAPPINGS
    from commerce_assets.sources.shopify.webhook_mapping import WEBHOOK_MAPPINGS

    lake = _lake(settings)
    wanted = contracts.table(table).family if table else family
    done = []
    for name, mapping in MAPPINGS.items():
        if wanted is not None and name != wanted:
            continue
        replayed = replay_family(lake, mapping, table=table, payloads=WEBHOOK_MAPPINGS.get(name))
        if replayed.tried:
            done.append({"family": name, "tried": replayed.tried, "accepted": replayed.resolved, "still_refused": replayed.still_refused})
    return done


def render_counts(found: list[dict[str, Any]]) -> str:
    """Counts as a table for people."""
    if not found:
        return "quarantine is empty"
    lines = [f"{'family':<12}{'table':<24}{'rule':<36}{'rows':>8}"]
    lines += [f"{row['family']:<12}{row['table']:<24}{row['rule']:<36}{row['rows']:>8,}" for row in found]
    return "\n".join([*lines, "", "`commerce quarantine show TABLE` shows rows, `commerce quarantine replay` lands them again after a fix"])


def render_rows(found: list[dict[str, Any]]) -> str:
    """Rows for people, one block each."""
    if not found:
        return "no quarantined row matches"
    return "\n\n".join(
        f"{row['table']} {row['row_key']}: {', '.join(row['failed_rules'])}\n  {row['_source_file']}:{row['_line']} (load {row['load_id']})\n  {row['row']}"
        for row in found
    )


def render_replay(done: list[dict[str, Any]]) -> str:
    """What a replay did, for people."""
    if not done:
        return "nothing to replay: quarantine is empty"
    lines = [f"{row['family']:<12}{row['accepted']:>8,} rows accepted now, {row['still_refused']:,} still in quarantine" for row in done]
    return "\n".join([*lines, "", "build the warehouse (make run, or materialise it in the UI) to see them in the marts"])
