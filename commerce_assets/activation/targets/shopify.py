"""Shopify's customers, products and orders: metafields, and tags of ours."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, Target
from commerce_assets.activation.targets.options import MetafieldOptions, TagOptions

__all__ = ["MetafieldOptions", "ShopifyTarget", "TagOptions"]


class ShopifyTarget(Target):
    """An object of the configured shop."""

    kind: Literal["shopify"] = "shopify"
    object: Literal["customer", "product", "order"] = Field(description="Which of the shop's objects is written; the key is its gid.")
    yields_to_others: bool = Field(
        False,
        description="Leave an object alone that holds other values in these metafields when we first come to it: they are somebody else's.",
    )
    bulk: bool = Field(True, description="Whether bulk mutations may be used where they cost less.")

    @property
    def plural(self) -> str:
        return f"{self.object}s"

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:
        claimed = {
            f"shopify/{self.object}/metafield/{one.metafield.namespace}.{one.metafield.key or one.name}" for one in fields if one.metafield
        }
        claimed |= {f"shopify/{self.object}/tag/{prefix.lower()}*" for one in fields if one.tags for prefix in one.tags.prefixes}
        return frozenset(claimed)

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        found = [f"field {one.name} goes nowhere: give it `metafield` or `tags`" for one in fields if not one.metafield and not one.tags]
        found += [f"field {one.name} goes to a metafield and to tags: give it one of them" for one in fields if one.metafield and one.tags]
        found += [f"field {one.name} has `tags`, so its type must be tags" for one in fields if one.tags and one.type != "tags"]
        found += [
            f"field {one.name} is written along and a set of tags: tags cannot be carried" for one in fields if one.tags and one.carried
        ]
        if sum(1 for one in fields if one.tags) > 1:
            found.append("more than one field holds tags: put them into one")
        return found
