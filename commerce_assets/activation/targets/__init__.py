"""What a declared sync says about where it writes: one module a kind of destination.

Belongs here: the options of each kind, checked when a declaration is read, and what a sync claims to own there (for the ownership lint).
Does not belong here: writing (destinations/), opening connections (service/destinations.py). Light to import: no driver, no client.
"""

from typing import Annotated

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, FieldType, Target
from commerce_assets.activation.targets.file import FileTarget
from commerce_assets.activation.targets.http import HttpTarget
from commerce_assets.activation.targets.shopify import MetafieldOptions, ShopifyTarget, TagOptions
from commerce_assets.activation.targets.sql import SqlTarget

__all__ = [
    "AnyTarget",
    "DeclaredField",
    "FieldType",
    "FileTarget",
    "HttpTarget",
    "MetafieldOptions",
    "ShopifyTarget",
    "SqlTarget",
    "TagOptions",
    "Target",
]

AnyTarget = Annotated[ShopifyTarget | FileTarget | HttpTarget | SqlTarget, Field(discriminator="kind")]
