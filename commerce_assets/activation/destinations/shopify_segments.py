"""Segments at the storefront: each a name and a query, made where it is missing, corrected where it differs, its members counted.

A segment is ours when its gid is known to the caller, or when it bears exactly our name: names need not be unique at Shopify, so a prefix
that nobody else uses keeps a merchant's own segments apart. Every call may be repeated: what a killed run made is found by its name.
Segments that are no longer wanted stay: a marketer may have built a campaign on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Protocol

from commerce_assets.activation.destinations.shopify import MESSAGE_LIMIT, ShopifyAdmin
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError

LONGEST_NAME, LONGEST_QUERY = 255, 5_000
MOST_SEGMENTS = 6_000
"""A shop has at most so many."""


class WantedSegment(Protocol):
    """A segment as somebody declares it."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def query(self) -> str: ...


@dataclass(frozen=True)
class StorefrontSegment:
    """A segment that the shop is to have."""

    name: str
    """By which we know it."""
    title: str
    """Its name in the shop's admin."""
    query: str
    """In Shopify's segment query language, such as `customer_tags CONTAINS 'lifecycle:lapsed'`."""


@dataclass(frozen=True)
class StorefrontSegmentState:
    """A segment as the shop now has it."""

    name: str
    gid: str
    member_count: int
    changed: Literal["created", "updated", "unchanged"]


class ShopifySegments:
    """The shop's segments that are ours. `prefix` stands before every title there."""

    def __init__(self, client: ShopifyAdmin, *, prefix: str = "") -> None:
        self.client, self.prefix = client, prefix

    def ensure(self, segments: Sequence[WantedSegment], known: Mapping[str, str] | None = None) -> list[StorefrontSegmentState]:
        """Bring them about; what became of each, in their order. `known`: gids of earlier runs by name, by which renamed ones are found.

        Raises `DestinationError` where the shop refuses one (with nothing written where that can be seen before),
        `DestinationUnavailableError` where it does not answer: run it again to go on.
        """
        if not segments:
            return []
        self._refuse_impossible(segments)
        present = self._present()
        by_gid = {node["id"]: node for node in present}
        # The oldest of several with one name is ours: a later one is somebody's copy.
        by_title: dict[str, Mapping[str, Any]] = {}
        for node in present:
            by_title.setdefault(node["name"], node)
        found = [by_gid.get((known or {}).get(one.name, "")) or by_title.get(self.prefix + one.title) for one in segments]
        missing = sum(node is None for node in found)
        if len(present) + missing > MOST_SEGMENTS:
            raise DestinationError(
                f"the shop has {len(present):,} segments and may have {MOST_SEGMENTS:,}: {missing} more do not fit; delete some in its admin"
            )
        return [self._ensure(one, node) for one, node in zip(segments, found, strict=True)]

    def _ensure(self, segment: WantedSegment, node: Mapping[str, Any] | None) -> StorefrontSegmentState:
        wanted = {"name": self.prefix + segment.title, "query": segment.query}
        changed: Literal["created", "updated", "unchanged"] = "unchanged"
        if node is None:
            node, changed = self._write("segment_create", "segmentCreate", wanted, segment), "created"
        elif node["name"] != wanted["name"] or _plain(node["query"]) != _plain(segment.query):
            node, changed = self._write("segment_update", "segmentUpdate", {"id": node["id"], **wanted}, segment), "updated"
        return StorefrontSegmentState(segment.name, str(node["id"]), self._count_members(node["id"]), changed)

    def _refuse_impossible(self, segments: Sequence[WantedSegment]) -> None:
        titles = [self.prefix + one.title for one in segments]
        problems = [
            f"{title[:60]!r} is the name of two segments" for title in sorted({title for title in titles if titles.count(title) > 1})
        ]
        for one, title in zip(segments, titles, strict=True):
            if not title.strip() or len(title) > LONGEST_NAME:
                problems.append(f"the name of segment {one.name} has {len(title)} characters, and may have 1 to {LONGEST_NAME}")
            if not one.query.strip() or len(one.query) > LONGEST_QUERY:
                problems.append(f"the query of segment {one.name} has {len(one.query)} characters, and may have 1 to {LONGEST_QUERY}")
        if problems:
            raise DestinationError(f"segments cannot be made: {'; '.join(problems)}; nothing was written")

    def _present(self) -> list[Mapping[str, Any]]:
        """Every segment of the shop, the oldest first."""
        found: list[Mapping[str, Any]] = []
        after: str | None = None
        while True:
            page = self._call("segments", {"after": after})["segments"]
            found.extend(page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    def _write(self, document: str, root: str, variables: Mapping[str, Any], segment: WantedSegment) -> Mapping[str, Any]:
        # An update may be repeated. A creation whose answer was lost may have made the segment: it is looked for first.
        try:
            payload = self._call(document, variables, idempotent=document == "segment_update")[root]
        except DestinationUnavailableError:
            made = (
                None if document == "segment_update" else next((one for one in self._present() if one["name"] == variables["name"]), None)
            )
            if made is None:
                raise
            return made
        if payload["userErrors"]:
            message = str(payload["userErrors"][0].get("message"))[:MESSAGE_LIMIT]
            advice = "; a metafield needs its definition before it can be filtered on: push its sync first" if "filter" in message else ""
            raise DestinationError(f"the shop refuses segment {segment.name}: {message}; mend its query{advice}")
        made = payload["segment"]
        if made is None:
            raise DestinationUnavailableError(f"the shop says nothing about segment {segment.name}; run again")
        return dict(made)

    def _count_members(self, gid: str) -> int:
        return int(self._call("segment_members", {"id": gid})["customerSegmentMembers"]["totalCount"])

    def _call(self, document: str, variables: Mapping[str, Any], *, idempotent: bool = False) -> dict[str, Any]:
        try:
            return self.client.execute(_document(document), variables, idempotent=idempotent)
        except Exception as error:
            raise DestinationUnavailableError(
                f"segments: the shop did not answer {document}: {type(error).__name__}: {error}"[:MESSAGE_LIMIT]
            ) from error


def _plain(query: str) -> str:
    """A query without what means nothing: the shop may give it back with other spaces."""
    return " ".join(query.split())


@cache
def _document(name: str) -> str:
    return (files("commerce_assets.activation.destinations") / "queries" / f"{name}.graphql").read_text(encoding="utf-8")
