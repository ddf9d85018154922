"""`commerce sync new`: a declared sync with its dbt model and yml, of columns of a customers' mart, ready to be planned.

Belongs here: the three files and what they are made from. Does not belong here: what a declaration may say (activation/declarations.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from commerce_assets.activation.declarations import COMPONENT, FILE, read_file
from commerce_assets.activation.errors import ActivationError

RELATIONS = ("customer_360", "customer_scores", "dim_customer")
"""Marts with one row a customer."""
TARGETS = {
    "shopify": "{kind: shopify, object: customer}",
    "file": "{kind: file, folder: audiences, format: csv}",
    "http": "{kind: http, url: https://example.com/hooks/customers}",
    "sql": "{kind: sql, url_env: CRM_DATABASE_URL, table: %s}",
}
_OF_SQL = {
    "varchar": ("text", "single_line_text_field"),
    "boolean": ("boolean", "boolean"),
    "date": ("date", "date"),
    "timestamp": ("timestamp", "date_time"),
    "bigint": ("integer", "number_integer"),
    "integer": ("integer", "number_integer"),
    "double": ("number", "number_decimal"),
}
"""Type of a mart's column -> type of the field, type of the metafield."""


class ScaffoldError(ActivationError):
    """A sync that cannot be made as asked; nothing was written."""


@dataclass(frozen=True)
class ScaffoldedField:
    """A field and the column it comes from."""

    name: str
    type: str
    metafield: str | None
    data_type: str
    description: str


def new_sync(
    name: str, kind: str, relation: str, columns: Sequence[str], *, syncs_root: Path, dbt_project: Path, owner: str = "team:crm"
) -> list[Path]:
    """Write defs.yaml, model and yml of a sync of `columns` of `relation`; the files, in that order.

    Raises `ScaffoldError` with nothing written where the name is taken, or a relation, destination or column does not exist.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", name):
        raise ScaffoldError(f"{name!r} is no name for a sync: small letters, digits and _, a letter first")
    if kind not in TARGETS:
        raise ScaffoldError(f"there is no destination {kind!r}; there are {', '.join(TARGETS)}")
    model = f"sync_{kind}__{name}"
    files = [syncs_root / name / FILE, *(dbt_project / "models" / "sync" / f"{model}.{ending}" for ending in ("sql", "yml"))]
    if taken := [path.name for path in files if path.exists()]:
        raise ScaffoldError(f"{', '.join(taken)} of {name} is there already; choose another name or edit it")
    fields = _fields(relation, columns, dbt_project, is_shopify=kind == "shopify")
    description = f"{', '.join(field.name.replace('_', ' ') for field in fields)} of each customer."
    target = TARGETS[kind] % name if "%s" in TARGETS[kind] else TARGETS[kind]
    words: dict[str, Any] = {"name": name, "model": model, "relation": relation, "fields": fields, "owner": owner, "component": COMPONENT}
    words |= {"description": description, "target": target, "key": "customer_gid", "mode": "mirror", "consent": kind in ("file", "http")}
    texts = [_template(f"{part}.jinja").render(words) + "\n" for part in ("sync_defs_yaml", "sync_model_sql", "sync_model_yml")]
    for path, text in zip(files, texts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    read_file(files[0])
    return files


def columns_of(relation: str, dbt_project: Path) -> dict[str, tuple[str, str]]:
    """Column -> SQL type, description of a customers' mart, from its yml."""
    if relation not in RELATIONS:
        raise ScaffoldError(f"{relation!r} has not one row a customer; choose one of {', '.join(RELATIONS)}, or write the model yourself")
    path = dbt_project / "models" / "marts" / f"{relation}.yml"
    (model,) = (one for one in yaml.safe_load(path.read_text(encoding="utf-8"))["models"] if one["name"] == relation)
    return {column["name"]: (column["data_type"], column.get("description", "")) for column in model["columns"]}


def _fields(relation: str, columns: Sequence[str], dbt_project: Path, *, is_shopify: bool) -> list[ScaffoldedField]:
    known = columns_of(relation, dbt_project)
    if not columns:
        raise ScaffoldError(f"name the columns to send, such as --columns order_count,country_code; {relation} has {', '.join(known)}")
    if unknown := [column for column in columns if column not in known]:
        raise ScaffoldError(f"{relation} has no column {', '.join(unknown)}; it has {', '.join(known)}")
    fields = []
    for column in columns:
        data_type, description = known[column]
        kind, metafield = (
            ("money", "number_decimal") if data_type.startswith("decimal") else _OF_SQL.get(data_type, ("text", "single_line_text_field"))
        )
        if data_type.endswith("[]"):
            raise ScaffoldError(f"{column} is a list; declare it by hand as tags or references")
        fields.append(ScaffoldedField(column, kind, metafield if is_shopify else None, data_type, description))
    return fields


@cache
def _template(name: str) -> jinja2.Template:
    loader = jinja2.PackageLoader("commerce_assets.service", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=False, undefined=jinja2.StrictUndefined, keep_trailing_newline=False)  # noqa: S701 - YAML and SQL
    return environment.get_template(name)
