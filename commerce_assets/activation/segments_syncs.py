"""What segments are sent as: Shopify segments on their tags, and a declared sync for each file or HTTP endpoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from commerce_assets.activation.declarations import DeclaredConsent, DeclaredGuards, DeclaredKey, DeclaredSync, PlacedSync
from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.segments import Channel, Segment, SendToFile, SendToHttp
from commerce_assets.activation.targets import DeclaredField, FileTarget, HttpTarget

MAX_REMOVED_SHARE = 0.5
"""Of a segment's members: segments about the last days change quickly, and a broken model loses all of them."""


class SegmentOnTag(NamedTuple):
    """A Shopify segment of the customers who carry a tag of ours."""

    name: str
    title: str
    query: str


@dataclass(frozen=True)
class AudienceModel:
    """A generated dbt model: a segment's members with what reaches them."""

    name: str
    segment: Segment
    kind: str
    channel: Channel


def storefront_segments(segments: Iterable[Segment]) -> list[SegmentOnTag]:
    """The Shopify segments that the shop is to have."""
    return [
        SegmentOnTag(segment.name, segment.declared.title, f"customer_tags CONTAINS '{segment.declared.tag}'")
        for segment in segments
        if segment.declared.is_sent_to_shopify
    ]


def audience_models(segments: Iterable[Segment]) -> list[AudienceModel]:
    """The models behind files and endpoints: one a segment and kind, however many of a kind it is sent to."""
    models: dict[str, AudienceModel] = {}
    for segment in segments:
        for one in segment.declared.send_to:
            if not isinstance(one, str) and segment.declared.consent is not None:
                name = _model_of(segment, one)
                models.setdefault(name, AudienceModel(name, segment, _kind_of(one), segment.declared.consent))
    return list(models.values())


def declarations_of(segments: Iterable[Segment]) -> list[PlacedSync]:
    """A sync for each file and HTTP endpoint: a mirror of the members who agree, as if it stood in a file of its own."""
    placed = []
    for segment in segments:
        for one in segment.declared.send_to:
            if isinstance(one, str):
                continue
            try:
                placed.append(PlacedSync(_sync_of(segment, one), segment.file, segment.line))
            except ValidationError as error:
                mistakes = "; ".join(problem["msg"] for problem in error.errors(include_input=False, include_url=False))
                raise DeclarationError(f"{segment.place}: segment {segment.name}, {one.name}: {mistakes}") from None
    return placed


def _sync_of(segment: Segment, one: SendToFile | SendToHttp) -> DeclaredSync:
    declared = segment.declared
    if declared.consent is None:  # refused when the segment was read
        raise ValueError(f"{segment.place}: segment {segment.name} needs a consent")
    name = f"segment_{declared.name}_{one.name}"
    return DeclaredSync(
        name=name,
        description=f"Members of the segment {declared.title} who agreed to {declared.consent} marketing: {declared.description}",
        model=_model_of(segment, one),
        target=_target_of(one, name),
        key=DeclaredKey(column="customer_gid"),
        fields=_fields_for(one),
        mode="mirror",
        guards=DeclaredGuards(max_removed_share=MAX_REMOVED_SHARE),
        consent=DeclaredConsent(channel=declared.consent),
        owner=declared.owner,
    )


def _target_of(one: SendToFile | SendToHttp, sync: str) -> FileTarget | HttpTarget:
    return one.file.named(sync) if isinstance(one, SendToFile) else one.http


def _fields_for(one: SendToFile | SendToHttp) -> tuple[DeclaredField, ...]:
    """What the destination knows people by: hashes and a whole address for the layouts of advertising tools, plain columns for others."""
    if isinstance(one, SendToFile) and one.file.layout != "plain":
        return (
            DeclaredField(name="email", type="email_sha256"),
            DeclaredField(name="phone", type="phone_sha256"),
            DeclaredField(name="first_name"),
            DeclaredField(name="last_name"),
            DeclaredField(name="country", column="country_code"),
            DeclaredField(name="zip", column="postal_code"),
        )
    return tuple(DeclaredField(name=name) for name in ("segment_name", "email", "phone", "first_name", "last_name", "country_code"))


def _model_of(segment: Segment, one: SendToFile | SendToHttp) -> str:
    return f"sync_{_kind_of(one)}__segment_{segment.name}"


def _kind_of(one: SendToFile | SendToHttp) -> str:
    return "file" if isinstance(one, SendToFile) else "http"
