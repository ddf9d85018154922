"""Audiences without code: `dbt_project/segments.yml`, read and checked; what is wrong is named with file and line.

A segment is a name, a condition over one customer's columns, and where its members are sent. It becomes a dbt model
(segments_models.py), a tag `segment:<name>` with a Shopify segment on it, and a sync for each file or HTTP endpoint (segments_syncs.py).

    segments:
      - name: vip
        title: VIP
        description: The customers who bring most of the value, and still order.
        where: s.is_vip and s.lifecycle <> 'lapsed'
        send_to:
          - shopify
          - file: {folder: audiences, layout: google_customer_match}
        consent: email
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, StringConstraints, Tag, ValidationError, field_validator, model_validator

from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.segments_columns import read_columns
from commerce_assets.activation.segments_condition import JINJA, Condition, ConditionError, ConditionReader
from commerce_assets.activation.targets import FileTarget, HttpTarget
from commerce_assets.activation.targets.base import Declared

FILE = "segments.yml"
TAG_PREFIX = "segment:"
"""Tags of customers that start so belong to the sync `customer_segments`."""
Channel = Literal["email", "sms"]
Suffix = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=11)]


class UnknownSegmentError(DeclarationError):
    """There is no segment of that name."""


class SendToFile(Declared):
    """An audience file."""

    file: FileTarget
    name: Suffix = Field("file", description="End of the sync's name, where a segment goes to several files.")


class SendToHttp(Declared):
    """A tool that is reached over HTTP."""

    http: HttpTarget
    name: Suffix = Field("http", description="End of the sync's name, where a segment goes to several tools.")


def _kind_of(block: Any) -> str | None:
    if block == "shopify":
        return "shopify"
    if isinstance(block, SendToFile | SendToHttp):
        return "file" if isinstance(block, SendToFile) else "http"
    return next((kind for kind in ("file", "http") if kind in block), None) if isinstance(block, Mapping) else None


SendTo = Annotated[
    Annotated[Literal["shopify"], Tag("shopify")] | Annotated[SendToFile, Tag("file")] | Annotated[SendToHttp, Tag("http")],
    Discriminator(
        _kind_of,
        custom_error_type="destination",
        custom_error_message="Send to `shopify`, to `file: {folder: …}` or to `http: {url: …}`",
    ),
]


class DeclaredSegment(Declared):
    """A segment as its block in segments.yml says."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40, description="Its model is segment__<name>, its tag segment:<name>.")
    title: str = Field(min_length=1, max_length=120, description="As the shop's admin shows it.")
    description: str = Field(min_length=1, max_length=1_000, description="Who is in it, and what it is good for.")
    where: str = Field(description="Who is in it: one SQL condition over c (customer_360) and s (customer_scores).")
    owner: str = Field("team:crm", pattern=r"^(team:|[^@\s]+@)", description="Who answers for it: team:<name> or an e-mail address.")
    send_to: tuple[SendTo, ...] = Field((), description="Where its members are sent: shopify, file, http.")
    consent: Channel | None = Field(None, description="Without consent to this channel nobody leaves; needed for file and http.")

    @field_validator("title", "description")
    @classmethod
    def _is_plain(cls, text: str) -> str:
        text = " ".join(text.split())
        if any(mark in text for mark in JINJA):
            raise ValueError("{{, {% and {# are not allowed here: dbt would take the text for a template")
        if not text.isprintable():
            raise ValueError("only characters that are printed are allowed here")
        return text

    @model_validator(mode="after")
    def _agrees(self) -> "DeclaredSegment":
        mistakes = []
        if self.consent is None and any(one != "shopify" for one in self.send_to):
            mistakes.append("members leave for a file or a tool: say which consent it takes (consent: email or consent: sms)")
        names = ["shopify" if isinstance(one, str) else one.name for one in self.send_to]
        mistakes += [f"send_to names {name} twice: give one of them another `name`" for name in sorted(set(names)) if names.count(name) > 1]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    @property
    def tag(self) -> str:
        return f"{TAG_PREFIX}{self.name}"

    @property
    def model(self) -> str:
        """Its dbt model."""
        return f"segment__{self.name}"

    @property
    def is_sent_to_shopify(self) -> bool:
        return "shopify" in self.send_to


@dataclass(frozen=True)
class Segment:
    """A segment whose condition was checked, and where it stands."""

    declared: DeclaredSegment
    condition: Condition
    file: str
    line: int

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def read_segments(project_dir: Path) -> tuple[Segment, ...]:
    """The segments of a dbt project, in the file's order; none where it has no segments.yml.

    Raises `DeclarationError` with one line a mistake (file:line), of all segments together.
    """
    path = project_dir / FILE
    if not path.exists():
        return ()
    nodes, blocks = _read_yaml(path)
    mistakes: list[str] = []
    found: dict[str, Segment] = {}
    with ConditionReader(read_columns(project_dir)) as reader:
        for node, block in zip(nodes, blocks, strict=True):
            line = node.start_mark.line + 1
            try:
                declared = DeclaredSegment.model_validate(block)
                condition = reader.read(declared.where)
            except ValidationError as error:
                mistakes += _lines_of(error, node)
                continue
            except ConditionError as error:
                mistakes.append(f"{FILE}:{_line_at(node, ('where',))}: where: {error}")
                continue
            if declared.name in found:
                mistakes.append(
                    f"{FILE}:{line}: there is another segment {declared.name!r} at {found[declared.name].place}; rename one of them"
                )
            found.setdefault(declared.name, Segment(declared, condition, FILE, line))
    if mistakes:
        raise DeclarationError("\n".join(mistakes))
    return tuple(found.values())


def read_condition(text: str, project_dir: Path) -> Condition:
    """A condition that stands in no file, such as one to be tried."""
    with ConditionReader(read_columns(project_dir)) as reader:
        return reader.read(text)


def segment_named(segments: Sequence[Segment], name: str) -> Segment:
    """The segment of that name, or `UnknownSegmentError` with the names there are."""
    for segment in segments:
        if segment.name == name:
            return segment
    raise UnknownSegmentError(
        f"there is no segment {name!r}; there are {', '.join(one.name for one in segments) or 'none'}: add it to {FILE}"
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema of segments.yml, for editors."""
    segment = DeclaredSegment.model_json_schema()
    definitions = segment.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Segments of commerce_assets",
        "type": "object",
        "required": ["segments"],
        "properties": {"segments": {"type": "array", "items": segment}},
        "$defs": definitions,
    }


def _read_yaml(path: Path) -> tuple[list[yaml.Node], list[Any]]:
    """The blocks below `segments`, with where each stands."""
    text = path.read_text(encoding="utf-8")
    try:
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DeclarationError(f"{FILE}:{line}: not YAML: {error.problem}") from None
    if content is None:
        return [], []
    listed = _child(root, "segments")
    if listed is None or list(content) != ["segments"]:
        raise DeclarationError(f"{FILE}:1: it holds one list, `segments:`, and nothing else")
    if isinstance(listed, yaml.ScalarNode) and content["segments"] is None:
        return [], []
    if not isinstance(listed, yaml.SequenceNode):
        raise DeclarationError(f"{FILE}:{listed.start_mark.line + 1}: segments is a list: start each with `- name: …`")
    return listed.value, content["segments"]


def _lines_of(error: ValidationError, node: yaml.Node) -> list[str]:
    return [
        f"{FILE}:{_line_at(node, problem['loc'])}: {'.'.join(str(part) for part in problem['loc']) or 'segment'}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    ]


def _line_at(node: yaml.Node, path: Sequence[str | int]) -> int:
    """The line of the part at `path`; names of union members stand in the path of an error, but not in the file."""
    line = int(node.start_mark.line) + 1
    for part in path:
        if (child := _child(node, part)) is not None:
            key = next((key for key, value in node.value if value is child), child) if isinstance(node, yaml.MappingNode) else child
            node, line = child, int(key.start_mark.line) + 1
    return line


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None
