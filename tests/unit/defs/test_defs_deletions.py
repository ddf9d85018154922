"""The asset of deletions: it pulls nothing, it folds what the events worker landed and shows the counts of its contract."""

from pathlib import Path

import dagster as dg
import landing_documents as docs
from landing_documents import Landing

from commerce_assets.config import Settings
from commerce_assets.defs.resources import LakeFolder
from commerce_assets.defs.storefront.assets import storefront_assets
from commerce_assets.lake import AppendPartition


def materialised(root: Path) -> dg.ExecuteInProcessResult:
    (asset,) = [found for found in storefront_assets(Settings(_env_file=None)) if found.key.path[-1] == "deletions"]
    return dg.materialize([asset], resources={"lake": LakeFolder(root=str(root), max_reject_rate=0.05)})


def test_deletions_are_folded_and_counted_with_their_check(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    assert materialised(landing.lake.root).get_asset_check_evaluations()[0].passed
    for second in (1, 2):
        name = f"events-20260301T10000{second}000000-orders"
        lines: list[docs.Line | str | bytes] = [{"id": f"gid://shopify/Order/{second}", "deletedAt": "2026-03-01T10:00:00Z"}]
        lines += [{"id": f"gid://shopify/Product/{second}", "deletedAt": "yesterday"}]
        landing.land(lines, "deletions", load_id=name, mode=AppendPartition(name))
    result = materialised(landing.lake.root)
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.metadata["read"].value, check.metadata["accepted"].value) == (False, 2, 1)
    (made,) = result.get_asset_materialization_events()
    assert made.materialization.metadata["dagster/row_count"].value == 2
    assert set(landing.lake.read("deleted_ids")["partition"]) == {"events-20260301T100002000000-orders"}
    assert materialised(landing.lake.root).get_asset_check_evaluations()[0].passed, "a batch is judged once"
