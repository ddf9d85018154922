"""Audience files for marketing tools: CSV, Parquet or JSONL in a folder or under s3://.

Layouts follow "Formatting guidelines for uploading hashed data" (support.google.com/google-ads/answer/7476159) and "How to format a
customer list when creating a custom audience" (facebook.com/business/help/2082575038703844), read in November 2026.
"""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from commerce_assets.activation.targets.base import DeclaredField, Target

KEY_COLUMN = "record_key"
Layout = Literal["plain", "google_customer_match", "meta_custom_audience"]
HashRule = Literal["plain", "google", "meta"]
Treatment = Literal["as_is", "hash", "google_name", "meta_name", "meta_place", "meta_zip", "trimmed"]
"""What is done to a value on its way into the file:

as_is        nothing
hash         nothing, as it is a SHA-256 already; anything else is refused
google_name  lower case, SHA-256 (Google asks for hashed names in a file with hashed addresses)
meta_name    lower case without punctuation, SHA-256
meta_place   lower case, letters and digits only, SHA-256
meta_zip     lower case without spaces and dashes, SHA-256
trimmed      no space around it (Google takes country and zip in clear text)
"""

_GOOGLE: dict[str, tuple[str, Treatment]] = {
    "email_sha256": ("Email", "hash"),
    "phone_sha256": ("Phone", "hash"),
    "first_name": ("First Name", "google_name"),
    "last_name": ("Last Name", "google_name"),
    "country": ("Country", "trimmed"),
    "zip": ("Zip", "trimmed"),
}
_META: dict[str, tuple[str, Treatment]] = {
    "email_sha256": ("email", "hash"),
    "phone_sha256": ("phone", "hash"),
    "first_name": ("fn", "meta_name"),
    "last_name": ("ln", "meta_name"),
    "zip": ("zip", "meta_zip"),
    "city": ("ct", "meta_place"),
    "state": ("st", "meta_place"),
    "country": ("country", "meta_place"),
    "madid": ("madid", "trimmed"),
    "value": ("value", "as_is"),
}
_LAYOUTS: dict[Layout, dict[str, tuple[str, Treatment]]] = {"google_customer_match": _GOOGLE, "meta_custom_audience": _META}
_RULES: dict[Layout, HashRule] = {"plain": "plain", "google_customer_match": "google", "meta_custom_audience": "meta"}
_HASH_TYPES = ("email_sha256", "phone_sha256")
_GOOGLE_ADDRESS = ("first_name", "last_name", "country", "zip")
"""Google matches a postal address by all four or not at all."""
_BUCKET = re.compile(r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$)")
_PART_NUMBER = re.compile(r"-[0-9]{4,}$")


@dataclass(frozen=True)
class Column:
    """One column of the file: the field it comes from (None: the key), its name there, and what is done to values."""

    field: str | None
    header: str
    treatment: Treatment = "as_is"


class FileTarget(Target):
    """One file, always whole, with a manifest beside it."""

    kind: Literal["file"] = "file"
    folder: str = Field(min_length=1, description="A folder (below exports in the data root where it is relative) or s3://bucket/prefix.")
    file: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=100,
        description="File name without ending; by default the sync's name.",
    )
    format: Literal["csv", "parquet", "jsonl"] = Field("csv", description="How it is written.")
    layout: Layout = Field("plain", description="Column names and hashes as the tool that takes the file asks for them.")
    include_key: bool | None = Field(
        None,
        description="Whether the record's key is a column (record_key); by default in layout plain only, the tools know no such column.",
    )
    max_rows_a_file: int | None = Field(None, ge=1, description="Rows a file; more are split into parts <file>-0001, <file>-0002, …")
    compression: Literal["none", "gzip"] = Field("none", description="Of CSV and JSONL; Parquet compresses by itself.")
    escape_formulas: bool = Field(
        True,
        description="CSV of layout plain: a value that a spreadsheet would run (it begins with = + - @ or a tab, and is no number) gets a ' before it.",
    )

    @property
    def plural(self) -> str:
        return "rows"

    @property
    def writes_key(self) -> bool:
        """Whether the key is a column."""
        return self.layout == "plain" if self.include_key is None else self.include_key

    @property
    def hash_rule(self) -> HashRule:
        """Whose rule e-mail addresses and phone numbers are hashed by (audiences.py)."""
        return _RULES[self.layout]

    @property
    def ending(self) -> str:
        """Of the files' names, with its dot."""
        return f".{self.format}{'.gz' if self.compression == 'gzip' else ''}"

    def named(self, sync: str) -> "FileTarget":
        """With its file's name filled in: by default the sync's."""
        return self if self.file else self.model_copy(update={"file": sync})

    def columns(self, fields: Sequence[DeclaredField]) -> tuple[Column, ...]:
        """The file's columns, in its order; fields without a place in the layout are left out (they are mistakes)."""
        key = (Column(None, KEY_COLUMN),) if self.writes_key else ()
        if self.layout == "plain":
            return (*key, *(Column(one.name, one.name) for one in fields))
        placed = {_place(one): one.name for one in fields}
        return (*key, *(Column(placed[place], *there) for place, there in _LAYOUTS[self.layout].items() if place in placed))

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:  # noqa: ARG002 (a file is one whole)
        """The file's name without its ending, as the manifest goes by it. Unknown where `named` has not filled it in."""
        if not self.file:
            return frozenset()
        scheme, separator, rest = self.folder.rpartition("://")
        return frozenset({f"file/{scheme}{separator}{posixpath.normpath(rest)}/{self.file}"})

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        found = [f"field {one.name} has options of Shopify's" for one in fields if one.metafield or one.tags]
        if "://" in self.folder and not _BUCKET.match(self.folder):
            found.append(f"folder {self.folder} is neither a folder nor s3://bucket/prefix")
        if ".." in self.folder.split("/"):
            found.append("folder holds `..`: say where it is")
        if self.file and _PART_NUMBER.search(self.file):
            found.append(f"file {self.file} ends as a part's name does (-0001): choose another")
        if self.compression == "gzip" and self.format == "parquet":
            found.append("compression is for csv and jsonl: Parquet compresses by itself")
        return found + (self._plain_mistakes(fields) if self.layout == "plain" else self._layout_mistakes(fields))

    def _plain_mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        clash = self.writes_key and any(one.name == KEY_COLUMN for one in fields)
        return [f"field {KEY_COLUMN} has the name of the key's column: rename it, or set include_key: false"] if clash else []

    def _layout_mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        """The tools match by e-mail or phone, take CSV, and stumble over columns that they do not know."""
        layout, types = _LAYOUTS[self.layout], [one.type for one in fields]
        places = [_place(one) for one in fields]
        found = []
        if self.format != "csv":
            found.append(f"layout {self.layout} is a CSV file: set format: csv")
        if self.writes_key:
            found.append(f"layout {self.layout} has no column for the key: leave include_key out")
        if not any(kind in types for kind in _HASH_TYPES):
            found.append(f"layout {self.layout} needs a field of type email_sha256 or phone_sha256: there is nothing to match people by")
        for one, place in zip(fields, places, strict=True):
            if one.name in ("email", "phone") and one.type not in _HASH_TYPES:
                found.append(f"field {one.name} would leave unhashed in layout {self.layout}: its type must be {one.name}_sha256")
            elif place not in layout:
                known = ", ".join(name for name in layout if name not in _HASH_TYPES)
                found.append(f"field {one.name} has no column in layout {self.layout}: leave it out, or name it one of {known}")
        found += [f"more than one field goes to {layout[place][0]}" for place in layout if places.count(place) > 1]
        address = [name for name in _GOOGLE_ADDRESS if name in places]
        if self.layout == "google_customer_match" and address and len(address) < len(_GOOGLE_ADDRESS):
            missing = ", ".join(name for name in _GOOGLE_ADDRESS if name not in places)
            found.append(f"Google matches addresses by first_name, last_name, country and zip together: {missing} is missing")
        return found


def _place(one: DeclaredField) -> str:
    return one.type if one.type in _HASH_TYPES else one.name
