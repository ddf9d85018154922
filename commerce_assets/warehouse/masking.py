"""Which columns hold personal data, and what stands in their place in the published file.

A column is personal when dbt's yml says so (`meta: {pii: true}`), or when a contract says so of a column of that name and dbt
does not say otherwise (`meta: {pii: false}`, such as the city of a warehouse): forgetting the mark hides too much, never too little.
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commerce_assets.contracts import TABLES

HIDDEN = "***"
PSEUDONYM_PREFIX = "p_"
_JOINABLE = ("email", "phone", "record_key")  # a pseudonym that is equal for equal values, so that counts of distinct people still hold
_GENERALISED = ("postal_code",)  # its first two characters stay: enough for a map of regions


@dataclass(frozen=True)
class Masking:
    """Personal columns by table (`schema.table`), names personal everywhere, and the key of this installation's pseudonyms."""

    key: str = field(repr=False)
    personal: Mapping[str, frozenset[str]] = field(default_factory=dict)
    harmless: Mapping[str, frozenset[str]] = field(default_factory=dict)
    personal_names: frozenset[str] = field(default_factory=lambda: contract_pii_names())

    def columns(self, table: str, names: Iterable[str]) -> frozenset[str]:
        """The personal ones among the columns `names` of `schema.table`."""
        marked, cleared = self.personal.get(table, frozenset()), self.harmless.get(table, frozenset())
        return frozenset(name for name in names if name in marked or (name in self.personal_names and name not in cleared))

    def expression(self, name: str, dtype: str) -> str:
        """SQL that stands in for the personal column `name` of DuckDB type `dtype`; null stays null."""
        quoted = quote(name)
        kind = mask_kind(name, dtype)
        if kind == "pseudonym":
            key = self.key.replace("'", "''")
            return f"'{PSEUDONYM_PREFIX}' || substr(sha256('{key}' || lower(trim({quoted}))), 1, 24)"
        if kind == "generalised":
            return f"left(trim({quoted}), 2) || '{HIDDEN}'"
        if kind == "hidden":
            return f"CASE WHEN {quoted} IS NOT NULL THEN '{HIDDEN}' END"
        return f"CAST(NULL AS {dtype})"

    def leak_condition(self, name: str, dtype: str) -> str:
        """SQL that is true of a masked value that is not one: the audit counts these rows and expects none."""
        quoted = quote(name)
        return {
            "pseudonym": f"NOT regexp_full_match({quoted}, '{PSEUDONYM_PREFIX}[0-9a-f]{{24}}')",
            "generalised": f"length({quoted}) > {2 + len(HIDDEN)} OR NOT ends_with({quoted}, '{HIDDEN}')",
            "hidden": f"{quoted} <> '{HIDDEN}'",
            "null": f"{quoted} IS NOT NULL",
        }[mask_kind(name, dtype)]


def mask_kind(name: str, dtype: str) -> str:
    """`pseudonym`, `generalised` or `hidden` for text by what the column is; `null` for any other type."""
    if dtype != "VARCHAR":
        return "null"
    if name.endswith(_JOINABLE):
        return "pseudonym"
    if name.endswith(_GENERALISED):
        return "generalised"
    return "hidden"


def contract_pii_names() -> frozenset[str]:
    """Every column name that some contract marks as personal data."""
    return frozenset(column.name for table in TABLES for column in table.columns if column.pii)


def marks_of_manifest(manifest: Mapping[str, Any]) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """(personal, harmless) columns by `schema.table`, as the models' yml marks them."""
    personal: dict[str, frozenset[str]] = {}
    harmless: dict[str, frozenset[str]] = {}
    for node in manifest.get("nodes", {}).values():
        if node.get("resource_type") != "model":
            continue
        marks = {
            name: column_meta(column).get("pii")
            for name, column in node.get("columns", {}).items()
            if column_meta(column).get("pii") is not None
        }
        table = f"{node['schema']}.{node.get('alias') or node['name']}"
        personal[table] = frozenset(name for name, mark in marks.items() if mark)
        harmless[table] = frozenset(name for name, mark in marks.items() if not mark)
    return personal, harmless


def column_meta(column: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest column's meta, wherever this dbt release keeps it."""
    return {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}


def installation_key(folder: Path) -> str:
    """The secret that pseudonyms are made with, created once per installation and readable by its owner only."""
    path = folder / "masking.key"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        beside = folder / f".masking.key-{os.getpid()}"
        beside.touch(mode=0o600)
        beside.write_text(secrets.token_hex(32))
        try:
            os.link(beside, path)  # the first of several processes wins; the others read its key
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    return path.read_text().strip()


def quote(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
