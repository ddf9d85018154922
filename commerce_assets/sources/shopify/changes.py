"""What changed at the shop since a moment: ids and times, to hold against what events told.

Belongs here: asking. Does not belong here: how far back to look, and what is missed (events).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from commerce_assets.sources.shopify.client import Meter, ShopifyClient, document
from commerce_assets.sources.shopify.errors import ShopifyConfigurationError, UnexpectedAnswerError
from commerce_assets.sources.shopify.streams import location_pages, since_filter

PAGE = 250
_ROOTS = MappingProxyType({"Order": "orders", "Customer": "customers", "Product": "products", "InventoryItem": "inventoryItems"})


def changed_since(
    client: ShopifyClient, object_type: str, since: datetime, limit: int, *, meter: Meter | None = None
) -> list[tuple[int, datetime]]:
    """(id, updatedAt) of the objects changed at or after `since` (to the second), oldest first, at most `limit`.

    An inventory item changes with its levels, too: its time is that of the latest of them. The shop does not sort those, so all that
    changed is read before the oldest are told.
    """
    root = _ROOTS.get(object_type)
    if root is None:
        raise ShopifyConfigurationError(f"{client.shop}: no changes of {object_type!r}; known: {', '.join(_ROOTS)}")
    search = since_filter(since, timedelta(0))
    floor = since.replace(microsecond=0)
    changed: dict[int, datetime] = {}
    is_sorted = object_type != "InventoryItem"
    for node in _nodes(client, root, search, min(PAGE, limit) if is_sorted else PAGE, meter):
        changed[_number(node["id"])] = datetime.fromisoformat(node["updatedAt"])
        if is_sorted and len(changed) >= limit:
            break
    if not is_sorted:
        for number, at in _level_changes(client, search, meter):
            if at >= floor:
                changed[number] = max(at, changed.get(number, at))
    return sorted(changed.items(), key=lambda one: (one[1], one[0]))[:limit]


def _level_changes(client: ShopifyClient, search: str, meter: Meter | None) -> Iterator[tuple[int, datetime]]:
    """(item, updatedAt) of the levels that changed, at every location."""
    for location in location_pages(client, meter):
        variables = {"location": location["id"], "filter": search, "first": PAGE}
        for page in _pages(client, "changed_levels", variables, ("location", "inventoryLevels"), meter):
            for edge in page["edges"]:
                yield _number(edge["node"]["item"]["id"]), datetime.fromisoformat(edge["node"]["updatedAt"])


def _nodes(client: ShopifyClient, root: str, search: str, first: int, meter: Meter | None) -> Iterator[dict[str, Any]]:
    for page in _pages(client, "changed_since", {"filter": search, "first": first, root: True}, (root,), meter):
        for edge in page["edges"]:
            yield edge["node"]


def _pages(
    client: ShopifyClient, query: str, variables: dict[str, Any], path: tuple[str, ...], meter: Meter | None
) -> Iterator[dict[str, Any]]:
    """The pages of the connection at `path` in a query's answer; none where its owner is gone."""
    cursor: str | None = None
    while True:
        found: Any = client.execute(document(query), {**variables, "after": cursor}, meter=meter)
        for key in path:
            if found is None:
                return
            found = found[key]
        yield found
        if not found["pageInfo"]["hasNextPage"]:
            return
        following = found["pageInfo"]["endCursor"]
        if following is None or following == cursor:
            raise UnexpectedAnswerError(f"{client.shop}: {query}: the pages do not go on; run again")
        cursor = following


def _number(gid: str) -> int:
    return int(gid.rsplit("/", 1)[1].partition("?")[0])
