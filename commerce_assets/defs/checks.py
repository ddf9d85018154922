"""One factory makes the contract check of each table from the report of its load.

Blocking. Some rows rejected: a warning, with counts, rates, the rules that failed and a few places to look (file and line, keys; never
a value). More than the threshold: an error, which holds back everything behind it in the run and, through the gates, the push.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import dagster as dg

from commerce_assets.contracts import TableContract, family

SAMPLES_PER_RULE = 3
TOLERATED_ROWS = 5
"""So few rows never make an error, whatever their share, as in landing."""
_WITH_PARENT = "parent_rejected"


class TableCounts(Protocol):
    """What the check needs of a table's part in a load report."""

    @property
    def read(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def quarantined(self) -> int: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def rejected_by_rule(self) -> Mapping[str, int]: ...


def check_name(table: str) -> str:
    """`contract_<table>`."""
    return f"contract_{table}"


def contract_check_specs(key: dg.AssetKey, family_name: str) -> list[dg.AssetCheckSpec]:
    """A blocking check for every table of a family."""
    return [_spec(key, table) for table in family(family_name)]


def _spec(key: dg.AssetKey, table: TableContract) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        check_name(table.name),
        asset=key,
        blocking=True,
        description=f"Rows of `{table.name}` keep their contract (commerce_assets/contracts); those that do not are in quarantine, with the rules they broke.",
        metadata={"columns": len(table.columns), "key": ", ".join(table.key)},
    )


def contract_check_results(
    key: dg.AssetKey,
    family_name: str,
    counts: Mapping[str, TableCounts],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    max_reject_rate: float,
) -> Iterator[dg.AssetCheckResult]:
    """The result of every table's check. `samples` are quarantined rows by table: rules, key, file, line, nothing personal."""
    for table in family(family_name):
        yield contract_check_result(key, table.name, counts[table.name], samples.get(table.name, ()), max_reject_rate)


def contract_check_result(
    key: dg.AssetKey, table: str, counts: TableCounts, samples: Sequence[Mapping[str, Any]], max_reject_rate: float
) -> dg.AssetCheckResult:
    """Passed when nothing was rejected; else a warning up to `max_reject_rate` of the rows read, and an error beyond.

    Only rows with a fault of their own count for that: a refused product takes its few metafields along, and they are all there were.
    """
    rate = counts.quarantined / counts.read if counts.read else 0.0
    own = counts.quarantined - counts.rejected_by_rule.get(_WITH_PARENT, 0)
    is_too_many = own > TOLERATED_ROWS and own > max_reject_rate * counts.read
    severity = dg.AssetCheckSeverity.ERROR if is_too_many else dg.AssetCheckSeverity.WARN
    rules = dict(sorted(counts.rejected_by_rule.items(), key=lambda item: (-item[1], item[0])))
    metadata: dict[str, Any] = {
        "read": counts.read,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
        "reject_rate": rate,
        "max_reject_rate": max_reject_rate,
    }
    if rules:
        metadata["rejected_by_rule"] = dg.MetadataValue.json(rules)
        metadata["where_to_look"] = dg.MetadataValue.json(_capped(samples))
        metadata["next_step"] = f"commerce quarantine list --table {table}"
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check_name(table),
        passed=counts.quarantined == 0,
        severity=severity,
        description=_sentence(table, counts, rate, rules),
        metadata=metadata,
    )


def refused_load(key: dg.AssetKey, family_name: str, reason: str) -> dg.AssetCheckResult:
    """The check of the family's root table after a load that was refused whole: an error, so that gates stay shut until a load is good."""
    root = family(family_name)[0].name
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check_name(root),
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"the load was refused: {reason}",
    )


def _sentence(table: str, counts: TableCounts, rate: float, rules: Mapping[str, int]) -> str:
    if counts.quarantined == 0:
        return f"all {counts.accepted:,} rows of {table} keep their contract"
    worst = ", ".join(f"{rule} ({rows:,})" for rule, rows in list(rules.items())[:3])
    return f"{counts.quarantined:,} of {counts.read:,} rows of {table} ({rate:.2%}) are in quarantine: {worst}"


def _capped(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first few of each rule."""
    by_rule: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples:
        for rule in sample["failed_rules"]:
            if len(by_rule[rule]) < SAMPLES_PER_RULE:
                by_rule[rule].append({"rule": rule, "key": sample["row_key"], "file": sample["_source_file"], "line": sample["_line"]})
    return [entry for rule in sorted(by_rule) for entry in by_rule[rule]]
