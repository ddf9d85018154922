"""What a field may say about one kind of destination."""

from pydantic import BaseModel, ConfigDict, Field


class MetafieldOptions(BaseModel):
    """A metafield of Shopify's: its definition is made where it is missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field("commerce", min_length=3, max_length=255, description="Namespace of the metafield.")
    key: str | None = Field(None, min_length=2, max_length=64, description="Key; by default named as the field.")
    type: str = Field("single_line_text_field", description="Shopify's type. Segments can filter on date, number, text and boolean.")
    title: str | None = Field(None, description="Name shown in the shop's admin; by default made of the field's name.")
    description: str = Field("", description="Shown in the shop's admin.")
    is_standard: bool = Field(False, description="Defined by Shopify for all shops: enabled, not made.")


class TagOptions(BaseModel):
    """Tags of ours: only those with one of these beginnings are ever added or removed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefixes: tuple[str, ...] = Field(min_length=1, description="Beginnings, such as `lifecycle:`; others' tags are never touched.")
