"""The contract check of a table, made from the report of its load."""

from dataclasses import dataclass, field

import dagster as dg
import pytest

from commerce_assets.contracts import family
from commerce_assets.defs.checks import SAMPLES_PER_RULE, contract_check_result, contract_check_results, contract_check_specs

KEY = dg.AssetKey(["storefront", "orders"])


@dataclass(frozen=True)
class Counts:
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    rejected_by_rule: dict[str, int] = field(default_factory=dict)


def sample(rule: str, line: int) -> dict[str, object]:
    return {
        "failed_rules": [rule],
        "row_key": f'{{"order_id": {line}}}',
        "_source_file": "storefront/orders/l/part-00000.jsonl",
        "_line": line,
    }


def test_every_table_of_a_family_has_one_blocking_check() -> None:
    specs = contract_check_specs(KEY, "orders")
    assert [spec.name for spec in specs] == [f"contract_{table.name}" for table in family("orders")]
    assert all(spec.blocking and spec.asset_key == KEY and spec.description for spec in specs)


def test_nothing_rejected_passes() -> None:
    result = contract_check_result(KEY, "orders", Counts(read=12, accepted=10, duplicates=2), [], 0.05)
    assert result.passed
    assert "rejected_by_rule" not in result.metadata


@pytest.mark.parametrize(
    ("quarantined", "severity"), [(1, dg.AssetCheckSeverity.WARN), (10, dg.AssetCheckSeverity.WARN), (11, dg.AssetCheckSeverity.ERROR)]
)
def test_rejected_rows_warn_up_to_the_threshold_and_fail_beyond(quarantined: int, severity: dg.AssetCheckSeverity) -> None:
    counts = Counts(read=200, accepted=200 - quarantined, quarantined=quarantined, rejected_by_rule={"email_format": quarantined})
    result = contract_check_result(KEY, "orders", counts, [], 0.05)
    assert not result.passed
    assert result.severity == severity
    assert "email_format" in (result.description or "")
    assert result.metadata["reject_rate"].value == quarantined / 200


def test_samples_are_capped_by_rule_and_hold_places_not_values() -> None:
    rows = [{**sample("email_format", line), "row": "secret@example.com"} for line in range(50)] + [sample("currency_known", 99)]
    result = contract_check_result(KEY, "orders", Counts(100, 49, 51, 0, {"email_format": 50, "currency_known": 1}), rows, 1.0)
    places = result.metadata["where_to_look"].value
    assert [place["rule"] for place in places] == ["currency_known"] + ["email_format"] * SAMPLES_PER_RULE
    assert "secret" not in str(result.metadata)
    assert set(places[0]) == {"rule", "key", "file", "line"}


def test_a_family_whose_report_lacks_a_table_is_an_error_not_a_pass() -> None:
    with pytest.raises(KeyError):
        list(contract_check_results(KEY, "orders", {"orders": Counts()}, {}, 0.05))


@pytest.mark.parametrize(("rule", "rows"), [("parent_rejected", 40), ("email_format", 5)])
def test_rows_that_went_with_their_parent_and_a_handful_of_bad_ones_only_warn(rule: str, rows: int) -> None:
    result = contract_check_result(KEY, "orders", Counts(50, 50 - rows, rows, 0, {rule: rows}), [], 0.05)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
