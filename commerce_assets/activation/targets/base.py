"""What every kind of destination's options have in common, and a sync's field as it is declared."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from commerce_assets.activation.targets.options import MetafieldOptions, TagOptions

FieldType = Literal[
    "text", "money", "number", "integer", "boolean", "date", "timestamp", "json", "tags", "references", "email_sha256", "phone_sha256"
]
"""How a column of the model becomes the text that is compared and written:

text          as it is
money         DECIMAL, whole cents, without zeros at the end; never a float
number        DECIMAL, integer or float, shortest form
integer       whole number
boolean       true or false
date          YYYY-MM-DD
timestamp     UTC, YYYY-MM-DDTHH:MM:SSZ
json          text that holds JSON, compacted
tags          a list (or text joined by commas): lower case, sorted, joined by commas
references    a list of gids, as JSON, its order kept
email_sha256  an e-mail address: trimmed, lower case, and whatever else the layout's tool asks; SHA-256 in hex
phone_sha256  a phone number in E.164, as the layout's tool asks; SHA-256 in hex
"""


class Declared(BaseModel):
    """Base of everything in a declaration: unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DeclaredField(Declared):
    """One field of a sync: from which column, as what, and where it goes."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="The field's name in the ledger, in plans and at destinations that have columns."
    )
    column: str | None = Field(None, description="Column of the model; by default named as the field.")
    type: FieldType = Field("text", description="How the column's value is written as text.")
    null: Literal["clear", "skip"] = Field("clear", description="What a null does: clear what is held there, or leave it (skip).")
    carried: bool = Field(False, description="Only written along with other changes, never alone.")
    metafield: MetafieldOptions | None = Field(None, description="Shopify: the metafield it goes to.")
    tags: TagOptions | None = Field(None, description="Shopify: it is a set of tags of ours.")

    @property
    def source(self) -> str:
        """Column of the model."""
        return self.column or self.name


class Target(Declared):
    """Where a sync writes: options of one kind of destination."""

    kind: str

    @property
    def destination(self) -> str:
        """First part of the asset's name and of the ledger's rows."""
        return self.kind

    @property
    def plural(self) -> str:
        """What many of its records are called."""
        return "records"

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:
        """Names of everything the sync writes there; a claim that ends in `*` stands for all names that start so."""
        raise NotImplementedError

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        """What is wrong with these fields for this kind of destination, each in a sentence; empty when nothing is."""
        raise NotImplementedError
