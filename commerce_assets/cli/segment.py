"""`commerce segment`: the audiences of dbt_project/segments.yml listed, checked, previewed and made into dbt models."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from commerce_assets.cli.output import Json, show
from commerce_assets.config import load_settings

if TYPE_CHECKING:
    from commerce_assets.service.segments import Preview, SegmentSize

app = typer.Typer(no_args_is_help=True, help="Audiences without code: dbt_project/segments.yml listed, checked, previewed, built.")
MATRIX_AT_MOST = 12
"""Segments that a matrix is wide enough for."""


@app.command("list")
def list_segments(as_json: Json = False) -> None:
    """Say what segments there are, where each is sent and on what condition."""
    from commerce_assets.activation.segments import read_segments
    from commerce_assets.service.segments import PROJECT_DIR

    rows = [
        {
            "name": one.name,
            "title": one.declared.title,
            "description": one.declared.description,
            "where": one.condition.sql,
            "columns": list(one.condition.columns),
            "send_to": [to if isinstance(to, str) else to.name for to in one.declared.send_to],
            "consent": one.declared.consent,
            "owner": one.declared.owner,
            "place": one.place,
        }
        for one in read_segments(PROJECT_DIR)
    ]
    show(rows, as_json, _list_lines)


@app.command()
def check(as_json: Json = False) -> None:
    """Read segments.yml: exit code 1 with file and line of each mistake, or of models that are not as the file has them."""
    from commerce_assets.activation.segments import read_segments
    from commerce_assets.activation.segments_models import stale_models
    from commerce_assets.activation.segments_syncs import declarations_of
    from commerce_assets.service.segments import PROJECT_DIR

    segments = read_segments(PROJECT_DIR)
    syncs = declarations_of(segments)
    stale = [path.name for path in stale_models(PROJECT_DIR)]
    lines = [f"{len(segments)} segments, {len(syncs)} of their own syncs: nothing is wrong with them"]
    if stale:
        lines.append(
            f"{len(stale)} models are not as segments.yml has them ({', '.join(stale[:5])}): `commerce segment build` makes them so"
        )
    show({"segments": len(segments), "syncs": len(syncs), "stale_models": stale}, as_json, lambda _: "\n".join(lines))
    raise SystemExit(1 if stale else 0)


@app.command()
def build(as_json: Json = False) -> None:
    """Make the dbt models of segments.yml; a run makes them too."""
    from commerce_assets.service.segments import PROJECT_DIR, build_models

    changed = [str(path.relative_to(PROJECT_DIR)) for path in build_models(PROJECT_DIR)]
    show({"changed": changed}, as_json, lambda _: "\n".join(changed) or "all models are as segments.yml has them")


@app.command()
def preview(
    name: Annotated[str | None, typer.Argument(help="Only this segment.")] = None,
    where: Annotated[str | None, typer.Option(help="A condition to be tried: over c (customer_360) and s (customer_scores).")] = None,
    as_json: Json = False,
) -> None:
    """Size, share of customers and revenue, consent, and overlaps with the other segments, on the built warehouse."""
    from commerce_assets.service.segments import PROJECT_DIR
    from commerce_assets.service.segments import preview as preview_of

    found = preview_of(load_settings(), name, where, PROJECT_DIR)
    show(found.as_dict(), as_json, lambda _: _preview_text(found))


def _list_lines(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        to = ", ".join(row["send_to"]) or "nowhere"
        lines += [
            f"{row['name']}  ({row['title']}; {row['place']})",
            f"    {row['description']}",
            f"    where {row['where']}",
            f"    to {to}",
        ]
    return "\n".join(lines) or "no segments: add the first to dbt_project/segments.yml"


def _preview_text(found: "Preview") -> str:
    currency = found.currency_code or ""
    lines = [
        f"{found.customers:,} customers, as of {found.as_of_on}; revenue {found.net_amount:,} {currency}, predicted {found.predicted_value_amount:,} {currency}"
    ]
    if found.other_currency_customers:
        lines.append(f"{found.other_currency_customers:,} customers of other currencies are counted, their amounts are not")
    width = max([len(one.name) for one in found.segments] + [7])
    lines += ["", f"{'segment':<{width}}  customers   share  {'revenue':>14}   share  {'predicted':>14}   share  consent"]
    lines += [_size_line(one, width) for one in found.segments]
    lines += ["", *(_matrix(found.segments, width) if 1 < len(found.segments) <= MATRIX_AT_MOST else _overlap_lines(found.segments))]
    return "\n".join(lines)


def _size_line(one: "SegmentSize", width: int) -> str:
    return (
        f"{one.name:<{width}}  {one.customers:>9,}  {one.share:>6.1%}  {one.net_amount:>14,}  {one.revenue_share:>6.1%}"
        f"  {one.predicted_value_amount:>14,}  {one.predicted_value_share:>6.1%}  {one.consented_share:>7.1%}"
    )


def _matrix(segments: "tuple[SegmentSize, ...]", width: int) -> list[str]:
    """Customers in both above the diagonal, Jaccard index below."""
    lines = [
        "shared customers (above), Jaccard index (below)",
        " " * (width + 5) + "".join(f"{place:>7}" for place in range(1, len(segments) + 1)),
    ]
    for place, one in enumerate(segments, start=1):
        cells = []
        for other_place, other in enumerate(segments, start=1):
            overlap = one.overlaps.get(other.name)
            cells.append("     ·" if overlap is None else f"{overlap.customers:>6,}" if other_place > place else f"{overlap.jaccard:>6.2f}")
        lines.append(f"{place:>3}  {one.name:<{width}} " + " ".join(cells))
    return lines


def _overlap_lines(segments: "tuple[SegmentSize, ...]") -> list[str]:
    lines = []
    for one in segments:
        shared = sorted(
            ((name, overlap) for name, overlap in one.overlaps.items() if overlap.customers), key=lambda pair: -pair[1].customers
        )
        lines += [f"{one.name} shares customers with" if shared else f"{one.name} shares customers with no other segment"]
        lines += [f"    {name:<40} {overlap.customers:>9,}   Jaccard {overlap.jaccard:.2f}" for name, overlap in shared]
    return lines
