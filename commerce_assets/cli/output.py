"""What commands print: JSON for programs, aligned lines for people."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(value: Any, as_json: bool, human: Callable[[Any], str]) -> None:
    """Print a value as JSON or as `human` renders it."""
    print(json.dumps(value, indent=2, default=str) if as_json else human(value))


def as_table(summary: dict[str, Any]) -> str:
    """A summary as lines; what is nested stands indented below its name, empty parts left out."""
    width = max((len(str(key)) for key in summary), default=0)
    lines = []
    for key, value in summary.items():
        if not isinstance(value, dict):
            lines.append(f"  {key!s:<{width}}  {value}")
            continue
        lines.append(f"  {key}")
        for name, part in value.items():
            shown = ", ".join(f"{part[field]} {field}" for field in part) if isinstance(part, dict) else part
            if not isinstance(part, dict) or part.get("rows", 1):
                lines.append(f"    {name!s:<{width}}  {shown}")
    return "\n".join(lines)
