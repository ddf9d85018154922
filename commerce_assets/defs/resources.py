"""What assets work with: the shop, the lake, the warehouse files, dbt, the operational store.

Each is made from the settings and may be overridden in tests (`build_defs(lake=…)`). None holds a secret in its configuration,
because Dagster shows configuration: credentials are read from the environment when they are used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DbtCliResource
from packaging.version import Version

from commerce_assets.config import Settings, load_settings
from commerce_assets.warehouse.dbt import DbtFiles

if TYPE_CHECKING:
    import duckdb

    from commerce_assets.lake import Lake
    from commerce_assets.sources.shopify.client import ShopifyClient


class Storefront(dg.ConfigurableResource):
    """The shop's Admin API."""

    base_url: str
    api_version: str

    @contextmanager
    def client(self) -> Iterator["ShopifyClient"]:
        """A client for one piece of work, closed at its end."""
        from commerce_assets.service.shop import open_client

        with open_client(load_settings(), self.base_url, self.api_version) as client:
            yield client


class LakeFolder(dg.ConfigurableResource):
    """The lake and how much of a load may be rejected."""

    root: str
    max_reject_rate: float

    def open(self) -> "Lake":
        """The lake, complete with its empty files, an interrupted load rolled forward."""
        from commerce_assets.lake import Lake

        lake = Lake(Path(self.root))
        lake.ensure()
        lake.recover()
        return lake


class Warehouse(dg.ConfigurableResource):
    """The DuckDB files: the one that is built and those that are published."""

    build_path: str

    @contextmanager
    def reading(self) -> Iterator["duckdb.DuckDBPyConnection"]:
        """The build file, read-only, closed at the end."""
        from commerce_assets.warehouse import reading

        with reading(Path(self.build_path)) as connection:
            yield connection


class Dbt(DbtCliResource):
    """dbt's command line, without two things that `DbtCliResource` does before each call and nothing here needs: asking
    the executable for its version (a process of two seconds), and an adapter of its own in this process (two more)."""

    @property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:  # noqa: ARG002 - the base's signature
        return None


def default_resources(settings: Settings) -> dict[str, Any]:
    """Every resource, as the settings have it."""
    files = DbtFiles.of(settings)
    return {
        "storefront": Storefront(base_url=settings.storefront_url, api_version=settings.shopify_api_version),
        "lake": LakeFolder(root=str(settings.lake_root), max_reject_rate=settings.quarantine_max_rate),
        "warehouse": Warehouse(build_path=str(settings.build_path)),
        "dbt": Dbt(project_dir=str(files.project_dir), profiles_dir=str(files.project_dir), dbt_executable=files.executable),
    }
