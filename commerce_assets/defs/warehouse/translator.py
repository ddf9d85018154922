"""How a dbt node is shown in the graph: keys, layers, owners, tiers, tags, columns."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

from commerce_assets.defs import automation
from commerce_assets.defs.names import ANALYTICS, CRM, DATA_PLATFORM, tags, tier_and_domain
from commerce_assets.warehouse.masking import Masking, column_meta, marks_of_manifest

_OWNER_OF_LAYER = {"staging": DATA_PLATFORM, "intermediate": ANALYTICS, "marts": ANALYTICS, "sync": CRM, "ops": DATA_PLATFORM}


class HouseTranslator(DagsterDbtTranslator):
    """`warehouse/<schema>/<model>`; a source table is the document family that it arrives with (`meta.dagster.asset_key`)."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True, enable_source_metadata=False))
        self._manifest = manifest

    @cached_property
    def _masking(self) -> Masking:
        personal, harmless = marks_of_manifest(self._manifest)
        return Masking(key="", personal=personal, harmless=harmless)

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            declared = _dagster_meta(dbt_resource_props).get("asset_key")
            return dg.AssetKey(declared or [dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey(["warehouse", dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props.get("description") or "").strip()

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return str(dbt_resource_props["schema"])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return list(_dagster_meta(dbt_resource_props).get("owners") or [_OWNER_OF_LAYER.get(dbt_resource_props["schema"], DATA_PLATFORM)])

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        tier, domain = tier_and_domain(dbt_resource_props["name"])
        declared = {name: str(value) for name, value in (_dagster_meta(dbt_resource_props).get("tags") or {}).items()}
        return {**tags(tier, domain, bool(self._personal_columns(dbt_resource_props))), **declared}

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        metadata = dict(super().get_metadata(dbt_resource_props))
        metadata["dagster/column_schema"] = self._column_schema(dbt_resource_props)
        metadata["dagster/table_name"] = f"{dbt_resource_props.get('schema')}.{dbt_resource_props['name']}"
        return metadata

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition | None:
        if dbt_resource_props["resource_type"] != "model":
            return None
        if not dbt_resource_props.get("depends_on", {}).get("nodes"):
            return automation.by_the_clock(automation.DAILY)  # a calendar has nothing upstream that could change
        return automation.when_upstream_changed()

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        materialized = self.get_resource_props(manifest, unique_id).get("config", {}).get("materialized")
        return spec.replace_attributes(kinds={"dbt", "duckdb", *(["view"] if materialized == "view" else ["table"])})

    def _personal_columns(self, props: Mapping[str, Any]) -> frozenset[str]:
        return self._masking.columns(f"{props.get('schema')}.{props['name']}", props.get("columns", {}))

    def _column_schema(self, props: Mapping[str, Any]) -> dg.TableSchema:
        personal = self._personal_columns(props)
        return dg.TableSchema(
            [
                dg.TableColumn(
                    name,
                    str(column.get("data_type") or "?").upper(),
                    column.get("description"),
                    constraints=dg.TableColumnConstraints(nullable=not _is_required(column)),
                    tags={"pii": ""} if name in personal else {},
                )
                for name, column in props.get("columns", {}).items()
            ]
        )


def _dagster_meta(props: Mapping[str, Any]) -> dict[str, Any]:
    return dict(column_meta(props).get("dagster") or {})


def _is_required(column: Mapping[str, Any]) -> bool:
    return any(constraint.get("type") in ("not_null", "primary_key") for constraint in column.get("constraints") or [])
