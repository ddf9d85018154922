"""A declared sync as a Dagster component: the block's schema, and the asset it becomes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.defs.activation.pushing import push_asset
from commerce_assets.defs.gates import Gate, gate_before

if TYPE_CHECKING:
    from dagster.components import ComponentLoadContext

GateBefore = Callable[[Sequence[dg.AssetKey]], Gate]


@dataclass
class SyncComponent(dg.Component):
    """Rows of a dbt model, kept equal at a destination: plan, gates, canary, write, receipts, undo.

    `commerce sync new NAME` makes one with its model; README, "Add a sync".
    """

    declared: DeclaredSync

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return DeclaredSync

    @classmethod
    def load(cls, attributes: BaseModel | None, context: "ComponentLoadContext") -> "SyncComponent":
        del context
        if not isinstance(attributes, DeclaredSync):
            raise TypeError("a sync needs `attributes`")
        return cls(attributes)

    def build_defs(self, context: "ComponentLoadContext") -> dg.Definitions:
        """The push, behind the gate of this code location."""
        del context
        return dg.Definitions(assets=[push_asset(self.declared, _gate_of_the_location)])


def _gate_of_the_location(upstream: Sequence[dg.AssetKey]) -> Gate:
    from commerce_assets.definitions import defs

    return gate_before(upstream, [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)])
