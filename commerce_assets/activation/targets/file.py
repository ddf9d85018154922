"""Audience files for marketing tools: CSV, Parquet or JSONL in a folder or under s3://."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, Target


class FileTarget(Target):
    """One file, always whole, with a manifest beside it."""

    kind: Literal["file"] = "file"
    folder: str = Field(description="A folder (below the data root where it is relative) or s3://bucket/prefix.")
    file: str | None = Field(None, description="File name without ending; by default the sync's name.")
    format: Literal["csv", "parquet", "jsonl"] = Field("csv", description="How it is written.")
    layout: Literal["plain", "google_customer_match", "meta_custom_audience"] = Field(
        "plain", description="Column names as the tool that takes the file asks for them."
    )

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:  # noqa: ARG002 (a file is one whole)
        return frozenset({f"file/{self.folder.rstrip('/')}/{self.file or ''}.{self.format}"})

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        return [f"field {one.name} has options of Shopify's" for one in fields if one.metafield or one.tags]
