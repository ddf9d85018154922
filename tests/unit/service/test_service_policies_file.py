"""Replenishment policies from a CSV: by SKU or variant, unknown SKUs refused, cells that are no number unknown."""

from pathlib import Path

import polars as pl
import pytest

from commerce_assets.scoring.demand import POLICY_COLUMNS
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
    assert found["pack_size"].to_list() == [6.0, None, None]


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
