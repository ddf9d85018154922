"""The dbt models of segments: made from segments.yml, checked in, and made again when that file changes.

    models/segments/segment__<name>.{sql,yml}                who is in the segment
    models/sync/sync_shopify__customer_segments.{sql,yml}    the tags of everyone in a segment that goes to Shopify
    models/sync/sync_<kind>__segment_<name>.{sql,yml}        members who agreed, with what reaches them, for files and endpoints

Every file made here says so in its first line. Files without that line are somebody's own: they are never written or removed.
"""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import yaml

from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.segments import FILE, TAG_PREFIX, Segment, read_segments
from commerce_assets.activation.segments_syncs import AudienceModel, audience_models

TAGS_MODEL = "sync_shopify__customer_segments"
SEGMENTS, SYNC = "segments", "sync"
_MARK = f"Made from {FILE} by `commerce segment build`: change that file, not this one."
_OF_SEGMENTS = ("segments/segment__*", "sync/sync_*__segment_*")
_NOT_NULL = [{"type": "not_null"}]
_PERSONAL = {"meta": {"pii": True}}


def write_models(project_dir: Path) -> list[Path]:
    """Bring the models in line with segments.yml; returns the files that were written or removed, none when all are current.

    Each file is put in place whole. May run in several processes at once: they write the same.
    """
    differing = _differing(project_dir)
    for path, text in differing.items():
        if text is not None:
            _refuse_foreign(path)
    for path, text in differing.items():
        if text is None:
            path.unlink(missing_ok=True)
        else:
            _write(path, text)
    return list(differing)


def stale_models(project_dir: Path) -> list[Path]:
    """The files that `write_models` would write or remove."""
    return list(_differing(project_dir))


def models_of(segments: Sequence[Segment]) -> dict[str, str]:
    """Path below `models/` -> text, of all models that the segments make."""
    found: dict[str, str] = {}
    for segment in segments:
        found[f"{SEGMENTS}/{segment.declared.model}.sql"] = _sql(_members(segment))
        found[f"{SEGMENTS}/{segment.declared.model}.yml"] = _yml(_described_segment(segment))
    found[f"{SYNC}/{TAGS_MODEL}.sql"] = _sql(_render("segment_tags", selects=_tagged(segments), prefix=TAG_PREFIX))
    found[f"{SYNC}/{TAGS_MODEL}.yml"] = _yml(_described_tags())
    for audience in audience_models(segments):
        query = _render("segment_audience", model=audience.segment.declared.model, channel=audience.channel)
        found[f"{SYNC}/{audience.name}.sql"] = _sql(query)
        found[f"{SYNC}/{audience.name}.yml"] = _yml(_described_audience(audience))
    return found


def rows_query(columns: Mapping[str, str], conditions: Sequence[str] = (), schema: str | None = None) -> str:
    """The wide relation that conditions are about: `columns` (name -> expression) of customers whom all `conditions` hold for.

    With a schema, of its tables in a warehouse; without, as a dbt model has it.
    """
    listed = ",".join(
        f"\n    {expression}" + ("" if expression.endswith(f".{name}") else f" as {name}") for name, expression in columns.items()
    )
    where = "\nwhere\n    " + "\n    and ".join(conditions) if conditions else ""
    return _render("segment_rows", schema, columns=listed, where=where)


def _differing(project_dir: Path) -> dict[Path, str | None]:
    """Files that are not as segments.yml has them -> what they should hold, None where they should not be."""
    models_dir = project_dir / "models"
    wanted = {models_dir / name: text for name, text in models_of(read_segments(project_dir)).items()}
    differing: dict[Path, str | None] = {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    dropped = [path for pattern in _OF_SEGMENTS for path in sorted(models_dir.glob(pattern)) if path not in wanted and _is_ours(path)]
    return {**differing, **dict.fromkeys(dropped)}


def _members(segment: Segment) -> str:
    columns = {
        "customer_id": "c.customer_id",
        "customer_gid": "customers.customer_gid",
        "segment_name": f"'{segment.name}'",
        "as_of_on": "as_of.as_of_on",
    }
    return rows_query(columns, segment.condition.parts)


def _tagged(segments: Sequence[Segment]) -> str:
    """Members of all segments that go to Shopify; with the same columns, and nobody, where none does."""
    models = [segment.declared.model for segment in segments if segment.declared.is_sent_to_shopify]
    selects = [f"select * from {_relation(model)}" for model in models] or [
        f"select *, '' as segment_name, current_date as as_of_on from {_relation('dim_customer')} where false"
    ]
    return "\n        union all\n        ".join(selects)


def _sql(query: str) -> str:
    # The formatter would break conditions anew, and what is made here has to be the same with and without it.
    return f"-- {_MARK}\n-- fmt: off\n{query}\n"


def _yml(model: Mapping[str, Any]) -> str:
    return f"# {_MARK}\n" + yaml.safe_dump({"models": [dict(model)]}, sort_keys=False, allow_unicode=True, width=140)


def _described_segment(segment: Segment) -> dict[str, Any]:
    declared = segment.declared
    return _described(
        declared.model,
        f"One row a customer in the segment {declared.title}: {declared.description}",
        owner=declared.owner,
        group=SEGMENTS,
        columns=[
            _column("customer_id", "Customer id.", "bigint", data_tests=["unique"]),
            _column("customer_gid", "gid://shopify/Customer/{id}.", "varchar"),
            _column("segment_name", "Name of the segment, as in segments.yml.", "varchar"),
            _column("as_of_on", "Day that the condition was judged by: the one that the scores describe.", "date"),
        ],
    )


def _described_tags() -> dict[str, Any]:
    return _described(
        TAGS_MODEL,
        "One row a customer in at least one segment that is sent to Shopify: exactly what activation/shopify/customer_segments writes to the customer's tags.",
        owner="team:crm",
        group=SYNC,
        columns=[
            _column("customer_gid", "gid://shopify/Customer/{id}.", "varchar"),
            _column("customer_id", "Customer id.", "bigint", data_tests=["unique"]),
            _column("segment_tags", f"Tags that the customer should carry of those that start with {TAG_PREFIX}, sorted.", "varchar[]"),
            _column("as_of_on", "Day that the conditions were judged by.", "date"),
        ],
    )


def _described_audience(audience: AudienceModel) -> dict[str, Any]:
    declared = audience.segment.declared
    return _described(
        audience.name,
        f"One row a customer in the segment {declared.title} who agreed to {audience.channel} marketing, with what reaches them: "
        f"exactly what leaves for {'files' if audience.kind == 'file' else 'HTTP endpoints'}.",
        owner=declared.owner,
        group=SYNC,
        columns=[
            _column("customer_gid", "gid://shopify/Customer/{id}.", "varchar"),
            _column("customer_id", "Customer id.", "bigint", data_tests=["unique"]),
            _column("segment_name", "Name of the segment, as in segments.yml.", "varchar"),
            _column("email", "E-mail address.", "varchar", is_required=False, config=_PERSONAL),
            _column("phone", "Phone number (E.164).", "varchar", is_required=False, config=_PERSONAL),
            _column("first_name", "First name.", "varchar", is_required=False, config=_PERSONAL),
            _column("last_name", "Last name.", "varchar", is_required=False, config=_PERSONAL),
            _column("postal_code", "Postal code of the default address.", "varchar", is_required=False, config=_PERSONAL),
            _column("country_code", "Country of the default address (ISO 3166-1 alpha-2).", "varchar", is_required=False),
            _column("as_of_on", "Day that the condition was judged by.", "date"),
        ],
        pii="true",
    )


def _described(name: str, description: str, *, owner: str, group: str, columns: list[dict[str, Any]], **tags: str) -> dict[str, Any]:
    shown = {"owners": [owner], "group": group, "tags": {"tier": "2", "domain": "customers", **tags}}
    return {"name": name, "description": description, "config": {"meta": {"dagster": shown}}, "columns": columns}


def _column(name: str, description: str, data_type: str, *, is_required: bool = True, **more: Any) -> dict[str, Any]:
    # Copies: YAML writes one object that is there twice as a reference.
    required = {"constraints": [dict(one) for one in _NOT_NULL]} if is_required else {}
    return {
        "name": name,
        "description": description,
        "data_type": data_type,
        **required,
        **{key: _copied(value) for key, value in more.items()},
    }


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value


def _render(name: str, schema: str | None = None, **values: Any) -> str:
    text = _template(name).render(relation=partial(_relation, schema=schema), **values)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip()


def _relation(model: str, schema: str | None = None) -> str:
    return f"{schema}.{model}" if schema else f'{{{{ ref("{model}") }}}}'


@cache
def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "sql")
    environment = jinja2.Environment(loader=loader, autoescape=False, undefined=jinja2.StrictUndefined)  # noqa: S701 - SQL
    return environment.get_template(f"{name}.sql")


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return _MARK in file.readline()


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not _is_ours(path):
        raise DeclarationError(
            f"{path.name} in {path.parent.name} was not made from {FILE}, and a segment's model would take its place: "
            "rename the segment or the file; nothing was written over it"
        )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
