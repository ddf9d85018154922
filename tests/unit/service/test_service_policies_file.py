"""Replenishment policies from a CSV: by SKU or variant, unknown SKUs refused, cells that are no number told."""

from pathlib import Path

import polars as pl
import pytest

from commerce_assets.scoring.demand import POLICY_COLUMNS, ReplenishmentSettings
from commerce_assets.scoring.demand.policies import with_policies
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.service.scores.policies_file import read_policies

SKUS = pl.DataFrame({"sku": ["MUG-1", "BOWL-1"], "variant_id": [11, 12]})


def test_without_a_file_there_are_no_policies() -> None:
    assert read_policies(None, SKUS).columns == list(POLICY_COLUMNS)
    assert read_policies(None, SKUS).is_empty()


def test_rows_name_a_variant_by_sku_or_id_or_hold_for_all(tmp_path: Path) -> None:
    path = tmp_path / "policies.csv"
    path.write_text("sku,variant_id,lead_time_days,pack_size\nMUG-1,,21,6\n,12,7,\n,,14,soon\n")
    found = read_policies(path, SKUS)
    assert found["variant_id"].to_list() == [11, 12, None]
    assert found["lead_time_days"].to_list() == [21.0, 7.0, 14.0]
    assert found["pack_size"].to_list()[:2] == [6.0, None]


def test_a_cell_that_is_no_number_is_counted_and_taken_for_unknown(tmp_path: Path) -> None:
    path = tmp_path / "policies.csv"
    path.write_text("sku,service_level,pack_size\nMUG-1,95%,6\nBOWL-1,,12 pcs\n")
    items, settings = pl.DataFrame({"variant_id": [11, 12], "location_id": [1, 1]}), ReplenishmentSettings()
    latency = pl.DataFrame(schema={"variant_id": pl.Int64, "location_id": pl.Int64, "sync_p95_seconds": pl.Float64})
    found, bad = with_policies(items, read_policies(path, SKUS), latency, settings)
    assert bad == {"policies_bad_service_level": 1, "policies_bad_pack_size": 1}
    assert found["service_level"].to_list() == [settings.service_level] * 2
    assert found["pack_size"].to_list() == [6.0, settings.pack_size]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sku,lead_time_days\nCUP-9,3\n", "1 SKUs that are no variant's alone, such as CUP-9"),
        ("sku,lead\nMUG-1,3\n", "has lead; known columns"),
    ],
)
def test_what_nobody_knows_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "policies.csv"
    path.write_text(text)
    with pytest.raises(ScoringError, match=what):
        read_policies(path, SKUS)


def test_a_file_that_is_not_there_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="COMMERCE_REPLENISHMENT_POLICIES"):
        read_policies(tmp_path / "none.csv", SKUS)
