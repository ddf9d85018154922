"""A sync as it is declared: a YAML block, checked when it is read; what is wrong is named with file and line.

Belongs here: the block's schema, reading it, and the lint that no two syncs write one field. Does not belong here: Dagster (which loads the
same blocks as components, defs/activation/component.py), and turning rows into records (mapping.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from commerce_assets.activation import records
from commerce_assets.activation.errors import DeclarationError, OwnershipError, UnknownSyncError
from commerce_assets.activation.targets import AnyTarget, DeclaredField, FileTarget
from commerce_assets.activation.targets.base import Declared

COMPONENT = "commerce_assets.defs.activation.component.SyncComponent"
"""What a block's `type` says."""
FILE = "defs.yaml"
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class DeclaredKey(Declared):
    """What tells one record from another."""

    column: str = Field(description="Column of the model.")
    pattern: str | None = Field(None, description="What a key looks like (a regular expression); others are skipped and counted.")


class DeclaredRange(Declared):
    """Bounds of a number, both included."""

    field: str
    at_least: float | None = None
    at_most: float | None = None


class DeclaredGuards(Declared):
    """What a plan may be; a plan that is more is refused with nothing written."""

    max_rows: int | None = Field(None, ge=0, description="Records that one run may write or remove.")
    min_rows: int = Field(0, ge=0, description="Desired records below which the model is taken for broken.")
    max_changed_share: Share = Field(1.0, description="Of known records, the share that one run may update.")
    max_removed_share: Share = Field(0.2, description="Of known records, the share that one run may remove.")
    always_allowed: int = Field(20, ge=0, description="So many updates and removals are never questioned.")
    max_null_keys: int | None = Field(
        None, ge=0, description="Desired rows without a usable key above which the model is taken for broken."
    )
    values: tuple[DeclaredRange, ...] = Field((), description="Bounds of numbers.")


class DeclaredCanary(Declared):
    """The part that is written first, and looked at before the rest."""

    share: Share = Field(0.05, description="Of the plan's records, chosen by a hash of the key.")
    column: str | None = Field(None, description="A boolean column of the model that marks the part instead: a segment, a store.")
    at_least: int = Field(10, ge=1, description="Records; a plan that has no more is written as one.")
    max_failed_rate: Share = Field(0.02, description="Failed rows of the part above which the run stops.")
    max_differing_rate: Share = Field(0.0, description="Records of the part that read back differently above which the run stops.")


class DeclaredHoldout(Declared):
    """The share that is never written, to measure the effect of writing."""

    share: Share = Field(description="Of all keys, chosen by a hash of salt and key: the same ones for ever.")
    salt: str | None = Field(None, description="Syncs with the same salt hold out the same keys; by default the sync's name.")


class DeclaredConsent(Declared):
    """For marketing: without the customer's consent nothing leaves. The key has to be the customer's gid: by it the storefront is asked."""

    channel: Literal["email", "sms"] = Field(description="Consent to what.")


class DeclaredFreshness(Declared):
    """How old the model may be."""

    column: str = Field("scored_at", description="Column of the model with the moment (UTC) its rows describe.")
    within_hours: float = Field(gt=0, description="Its newest moment may lie so far back.")


class DeclaredSync(Declared):
    """A sync: rows of a dbt model, kept equal at a destination."""

    name: Name = Field(description="The sync's name; its asset is activation/<destination>/<name>.")
    description: str = Field(description="What it brings to whom; shown in Dagster.")
    model: Name = Field(description="The dbt model in schema `sync` whose rows the destination is to hold.")
    target: AnyTarget = Field(description="Where it writes.")
    key: DeclaredKey = Field(description="What tells one record from another.")
    fields: tuple[DeclaredField, ...] = Field(min_length=1, description="What is written.")
    mode: records.Mode = Field(
        "upsert", description="upsert, update_only, insert_only, mirror (takes away what left the set) or append (events)."
    )
    scores: Mapping[str, str | None] = Field(
        default_factory=dict,
        description="Scores behind the model, each with the model's column that holds its receipt's id (or null): each needs an accepted receipt in force.",
    )
    freshness: DeclaredFreshness | None = Field(None, description="How old the model may be.")
    guards: DeclaredGuards = Field(default_factory=DeclaredGuards, description="What a plan may be.")
    canary: DeclaredCanary | None = Field(None, description="The part that is written first.")
    holdout: DeclaredHoldout | None = Field(None, description="The share that is never written.")
    consent: DeclaredConsent | None = Field(None, description="For marketing: without consent nothing leaves.")
    automation: str = Field(
        "when_upstream_changed",
        pattern=r"^(when_upstream_changed|manual|\S+( \S+){4})$",
        description="when_upstream_changed, manual, or a cron line in UTC.",
    )
    owner: str = Field("team:crm", pattern=r"^(team:|[^@\s]+@)", description="Who answers for it: team:<name> or an e-mail address.")
    tier: Literal[1, 2, 3, 4] = Field(2, description="1 critical, 2 growth, 3 fiscal, 4 catalogue.")
    domain: str = Field("customers", description="Business domain, a tag in Dagster.")
    skip_empty_rows: bool = Field(False, description="A row whose fields are all null is not in the set.")

    @model_validator(mode="after")
    def _agrees(self) -> "DeclaredSync":
        names = [one.name for one in self.fields]
        mistakes = [f"field {name} is there twice" for name in sorted({name for name in names if names.count(name) > 1})]
        mistakes += [f"guards.values names {bound.field}, which is no field" for bound in self.guards.values if bound.field not in names]
        if all(one.carried for one in self.fields):
            mistakes.append("every field is carried: at least one has to decide whether a record changed")
        mistakes += self.target.mistakes(self.fields)
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    @property
    def destination(self) -> str:
        return self.target.destination

    @property
    def title(self) -> str:
        """In running text."""
        return self.name.replace("_", " ")

    def as_sync(self) -> records.Sync:
        """As the engine takes it."""
        return records.Sync(
            destination=self.destination,
            name=self.name,
            mapped=tuple(one.name for one in self.fields if not one.carried),
            carried=tuple(one.name for one in self.fields if one.carried),
            sets=tuple(one.name for one in self.fields if one.type == "tags"),
            kept_when_null=tuple(one.name for one in self.fields if one.null == "skip"),
            mode=self.mode,
            guards=records.Guards(
                **self.guards.model_dump(exclude={"values"}),
                values=tuple(records.ValueRange(**bound.model_dump()) for bound in self.guards.values),
            ),
            canary=records.Canary(**self.canary.model_dump()) if self.canary else None,
            holdout=records.Holdout(self.holdout.share, self.holdout.salt or self.name) if self.holdout else None,
            consent=records.Consent(self.consent.channel) if self.consent else None,
        )


@dataclass(frozen=True)
class PlacedSync:
    """A declared sync and where it stands."""

    declared: DeclaredSync
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def read_syncs(folder: Path) -> dict[str, PlacedSync]:
    """Every sync declared in a `defs.yaml` below `folder`, by name, in the order of the files' names.

    Raises `DeclarationError` with one line a mistake (file:line), `OwnershipError` where two syncs write one field.
    """
    found: dict[str, PlacedSync] = {}
    for path in sorted(folder.rglob(FILE)):
        for placed in read_file(path, shown=_shown(path, folder)):
            name = placed.declared.name
            if name in found:
                raise DeclarationError(f"{placed.place}: there is another sync {name!r} at {found[name].place}; rename one of them")
            found[name] = placed
    refuse_shared_fields(found.values())
    return found


def read_file(path: Path, *, shown: str | None = None) -> list[PlacedSync]:
    """The syncs of one file: YAML documents of type `SyncComponent`; others are left out."""
    shown = shown or str(path)
    text = path.read_text(encoding="utf-8")
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        blocks = [block for block in yaml.safe_load_all(text) if block is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DeclarationError(f"{shown}:{line}: not YAML: {error.problem}") from None
    placed = []
    for node, block in zip(nodes, blocks, strict=True):
        if isinstance(block, Mapping) and str(block.get("type", "")).rsplit(".", 1)[-1] == COMPONENT.rsplit(".", 1)[-1]:
            placed.append(_read_block(node, block, shown))
    return placed


def sync_named(syncs: Mapping[str, PlacedSync], name: str) -> PlacedSync:
    """The sync of that name, or `UnknownSyncError` with the names there are."""
    if name not in syncs:
        raise UnknownSyncError(f"there is no sync {name!r}; there are {', '.join(syncs) or 'none'}; `commerce sync new {name}` makes one")
    return syncs[name]


def refuse_shared_fields(syncs: Iterable[PlacedSync]) -> None:
    """Raise `OwnershipError` where two syncs claim the same field of the same destination: the last to run would win."""
    owners: list[tuple[str, PlacedSync]] = []
    shared: list[str] = []
    for placed in syncs:
        for claim in sorted(_claims(placed.declared)):
            shared += [
                f"{placed.place}: sync {placed.declared.name} writes {claim}, which sync {other.declared.name} ({other.place}) writes too"
                for taken, other in owners
                if other is not placed and _overlap(claim, taken)
            ]
            owners.append((claim, placed))
    if shared:
        raise OwnershipError("\n".join([*shared, "each field has one owner: take it out of one of them"]))


def json_schema() -> dict[str, Any]:
    """JSON Schema of a `defs.yaml` with a sync, for editors."""
    attributes = DeclaredSync.model_json_schema()
    definitions = attributes.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A sync of commerce_assets",
        "type": "object",
        "required": ["type", "attributes"],
        "properties": {"type": {"const": COMPONENT}, "attributes": attributes},
        "$defs": definitions,
    }


def _claims(declared: DeclaredSync) -> frozenset[str]:
    if declared.mode == "append":
        return frozenset()  # an event is added to others', and changes none of them
    target = declared.target.named(declared.name) if isinstance(declared.target, FileTarget) else declared.target
    return target.claims(declared.fields)


def _overlap(one: str, other: str) -> bool:
    if one.endswith("*") and other.endswith("*"):
        return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
    if one.endswith("*") or other.endswith("*"):
        pattern, plain = (one, other) if one.endswith("*") else (other, one)
        return plain.startswith(pattern[:-1])
    return one == other


def _read_block(node: yaml.Node, block: Mapping[str, Any], shown: str) -> PlacedSync:
    attributes = _child(node, "attributes")
    if attributes is None:
        raise DeclarationError(f"{shown}:{node.start_mark.line + 1}: a sync needs `attributes`")
    try:
        declared = DeclaredSync.model_validate(block["attributes"])
    except ValidationError as error:
        lines = [
            f"{shown}:{_line_of(attributes, problem['loc'])}: {'.'.join(str(part) for part in problem['loc']) or 'sync'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise DeclarationError("\n".join(lines)) from None
    return PlacedSync(declared, shown, node.start_mark.line + 1)


def _line_of(node: yaml.Node, path: Sequence[str | int]) -> int:
    """The line of the part at `path`, or of the nearest part above it that is written there."""
    line = node.start_mark.line + 1
    for part in path:
        child = _child(node, part)
        if child is None:
            # Names of union members stand in the path of an error, but not in the file.
            continue
        node, line = child, _start_of(node, part, child)
    return line


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


def _start_of(parent: yaml.Node, part: str | int, child: yaml.Node) -> int:
    if isinstance(parent, yaml.MappingNode):
        key = next(key for key, _ in parent.value if key.value == part)
        return int(key.start_mark.line) + 1
    return int(child.start_mark.line) + 1


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder.parent)) if path.is_relative_to(folder.parent) else str(path)
