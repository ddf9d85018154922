"""Bulk results recorded from real stores: every line is parsed, told apart and counted as the store counted it."""

import json
import shutil
from pathlib import Path

import pytest
from landing_documents import Landing
from support import shared_path

from commerce_assets.lake import Declared, LoadError, Merge, land, quarantine_rows
from commerce_assets.sources.shopify.mapping import PRODUCTS

RECORDED = ["nested_run", "products_runQueryGroupObjectsDefault", "products_runQueryGroupObjectsTrue"]


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_bulk_result_reconciles_and_every_line_is_placed(tmp_path: Path, name: str) -> None:
    folder = shared_path("shopify/bulk-jsonl-live")
    meta = json.loads((folder / f"{name}.meta.json").read_text())
    operation = meta.get("terminalOperation", meta)
    landing = Landing(tmp_path)
    part = landing.lake.new_load_dir("storefront", "products", "live") / "part-00000.jsonl"
    shutil.copy(folder / f"{name}.jsonl", part)
    declared = Declared(int(operation["objectCount"]), int(operation["rootObjectCount"]))

    report = land(landing.lake, "products", PRODUCTS, [part], "live", Merge(), declared, max_reject_rate=1.0)

    assert report.lines == declared.objects
    assert report.broken_lines == 0
    assert report.read == declared.objects, "each line is one row of one table"
    # Those queries asked for few fields: what our contract requires and they lack is named, and nothing else is wrong.
    rules = {rule for found in quarantine_rows(landing.lake)["failed_rules"] for rule in found}
    assert {rule.split(":")[0] for rule in rules} == {"not_null"}
    if name == "nested_run":
        assert {table: counts.read for table, counts in report.tables.items()} == {
            "products": 1,
            "variants": 1,
            "product_media": 1,
            "product_metafields": 1,
        }


def test_a_truncated_recorded_result_is_refused(tmp_path: Path) -> None:
    folder = shared_path("shopify/bulk-jsonl-live")
    landing = Landing(tmp_path)
    part = landing.lake.new_load_dir("storefront", "products", "live") / "part-00000.jsonl"
    part.write_bytes((folder / "products_runQueryGroupObjectsDefault.jsonl").read_bytes()[:-40_000])
    with pytest.raises(LoadError, match="declared 1,456 objects"):
        land(landing.lake, "products", PRODUCTS, [part], "live", Merge(), Declared(1456, 1456), max_reject_rate=1.0)
