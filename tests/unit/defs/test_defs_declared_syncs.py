"""Declared syncs become assets through Dagster's component loader, the same that the command line reads."""

from pathlib import Path

import dagster as dg
import pytest

from commerce_assets.activation.declarations import DeclarationError
from commerce_assets.config import load_settings
from commerce_assets.defs.activation.component import SyncComponent
from commerce_assets.defs.activation.declared import sync_components
from commerce_assets.defs.activation.pushing import push_asset
from commerce_assets.defs.gates import Gate
from commerce_assets.service.syncs import declared_syncs

BLOCK = """\
type: commerce_assets.defs.activation.component.SyncComponent
attributes:
  name: crm_{name}
  description: Points in the CRM.
  model: sync_sql__crm
  target: {{kind: sql, url_env: CRM_DATABASE_URL, table: crm_{name}}}
  key: {{column: customer_gid}}
  automation: {automation}
  fields: [{{name: points, type: integer}}]
  owner: ann@example.com
  tier: 3
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMMERCE_SYNCS_ROOT", str(tmp_path / "syncs"))
    for name, automation in (("one", "manual"), ("two", "0 6 * * *")):
        (tmp_path / "syncs" / name).mkdir(parents=True)
        (tmp_path / "syncs" / name / "defs.yaml").write_text(BLOCK.format(name=name, automation=f'"{automation}"'))
    return tmp_path / "syncs"


def test_every_declared_sync_is_a_component(data_root: Path) -> None:
    components = {component.declared.name for component in sync_components(load_settings())}
    assert components == set(declared_syncs(load_settings())) >= {"customer_scores", "product_recommendations", "order_risk"}


def test_a_folder_of_ones_own_is_read_instead(root: Path, data_root: Path) -> None:
    components = {component.declared.name: component for component in sync_components(load_settings())}
    assert {"crm_one", "crm_two"} <= set(components)
    assert "customer_scores" not in components
    assert isinstance(components["crm_one"], SyncComponent)


def test_the_asset_is_what_the_declaration_says(root: Path, data_root: Path) -> None:
    declared = declared_syncs(load_settings())
    by_name = {name: push_asset(declared[name].declared, lambda _: Gate(())) for name in ("crm_one", "crm_two")}
    (spec,) = by_name["crm_two"].specs
    assert spec.key == dg.AssetKey(["activation", "sql", "crm_two"])
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey(["warehouse", "sync", "sync_sql__crm"])]
    assert (list(spec.owners), spec.kinds, spec.tags["tier"], spec.group_name) == (["ann@example.com"], {"sql"}, "3", "activation")
    assert spec.automation_condition is not None
    assert next(iter(by_name["crm_one"].specs)).automation_condition is None
    columns = spec.metadata["dagster/column_schema"].columns
    assert [(column.name, column.type) for column in columns] == [("customer_gid", "key"), ("points", "integer")]
    assert {check.name for check in by_name["crm_two"].check_specs} == {"gates_open", "rows_written"}


def test_the_component_builds_its_definitions_by_itself(root: Path, data_root: Path) -> None:
    component = next(component for component in sync_components(load_settings()) if component.declared.name == "crm_one")
    built = component.build_defs(dg.ComponentTree.for_test().load_context)
    (asset,) = built.assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    assert asset.key == dg.AssetKey(["activation", "sql", "crm_one"])


def test_a_mistake_is_named_with_file_and_line(root: Path, data_root: Path) -> None:
    path = root / "one" / "defs.yaml"
    path.write_text(path.read_text().replace("tier: 3", "tier: 9"))
    with pytest.raises(DeclarationError, match=r"syncs/one/defs.yaml:11: tier: Input should be 1, 2, 3 or 4"):
        sync_components(load_settings())
