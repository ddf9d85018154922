"""Tools that are reached by signed JSON over HTTP."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, Target


class HttpTarget(Target):
    """An HTTP endpoint that takes JSON."""

    kind: Literal["http"] = "http"
    url: str = Field(pattern=r"^https?://", description="Where records are sent.")

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:
        return frozenset(f"http/{self.url}#{one.name}" for one in fields)

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        return [f"field {one.name} has options of Shopify's" for one in fields if one.metafield or one.tags]
