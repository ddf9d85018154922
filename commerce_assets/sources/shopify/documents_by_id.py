"""Whole documents by id: what events only give notice of, read in batches within the budget and written in bulk shape.

Belongs here: orders, customers, products and inventory items, as a pull would have brought them. What is read of them stands in
`queries/*_bulk.graphql` alone, so that both ways bring the same; here each connection gets its pages. Does not belong here: which
ids are wanted, and landing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphql import FieldNode, SelectionNode, print_ast

from commerce_assets.sources.shopify.client import Meter, ShopifyClient, document
from commerce_assets.sources.shopify.download import PartWriter
from commerce_assets.sources.shopify.drain import FULFILLMENT_LINES, REFUND_LINES, Drain, LineReader, ids_a_query, side_by_side
from commerce_assets.sources.shopify.errors import QueryTooExpensiveError, ShopifyConfigurationError, UnexpectedAnswerError
from commerce_assets.sources.shopify.throttle import operation_of, parsed

Json = dict[str, Any]
PAGE = 50
"""Nodes a further page."""
WORKERS = 4


@dataclass(frozen=True)
class _Kind:
    """How objects of a type are read: the bulk query that says what, the first page of each connection, and what else is wanted."""

    bulk: str
    first: Mapping[str, int]
    more: Mapping[str, str] = field(default_factory=dict)


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "Order": _Kind(
            "orders_bulk",
            {"lineItems": 10, "discountApplications": 3, "shippingLines": 2},
            # For the books of stock, which a pull does not keep.
            {"": "retailLocation { id }", "lineItems": "unfulfilledQuantity"},
        ),
        "Customer": _Kind("customers_bulk", {"addressesV2": 5, "metafields": 10}),
        "Product": _Kind("products_bulk", {"variants": 20, "media": 10, "metafields": 10}),
        "InventoryItem": _Kind("inventory_bulk", {"inventoryLevels": 10}),
    }
)


@dataclass(frozen=True)
class Documents:
    """What was read. `versions` are the `updatedAt` of what was found; an inventory item's is that of its latest level, if later.

    Of orders: `transactions` as `order_transactions/create` brings them (amounts in the shop's currency), and `bodies`, the order in the
    shape of an `orders/*` payload as far as stock goes.
    """

    files: tuple[Path, ...]
    versions: Mapping[int, datetime]
    missing: frozenset[int]
    transactions: Mapping[int, Sequence[bytes]]
    bodies: Mapping[int, bytes]


def fetch_documents(
    client: ShopifyClient, object_type: str, ids: Iterable[int], folder: Path, *, meter: Meter | None = None, workers: int = WORKERS
) -> Documents:
    """Read objects by id and write them to `folder` as `documents-*.jsonl`, and the lines of an order's refunds and fulfillments as `drain-*.jsonl`.

    Raises a `ShopifyError` when the shop cannot be asked.
    """
    if object_type not in _KINDS:
        raise ShopifyConfigurationError(f"{client.shop}: no documents of type {object_type!r} by id; known: {', '.join(_KINDS)}")
    wanted = list(dict.fromkeys(ids))
    reader = _DocumentReader(client, object_type, meter)
    found: list[_Document] = []
    with PartWriter(folder, "documents") as writer:
        for _, documents in side_by_side(reader, [f"gid://shopify/{object_type}/{number}" for number in wanted], workers):
            writer.write(b"".join(line for one in documents for line in one.lines()))
            found += documents
        files = [*writer.commit().files]
    transactions: dict[int, list[bytes]] = {}
    bodies: dict[int, bytes] = {}
    if object_type == "Order":
        refunded = _drained(client, REFUND_LINES, _refunds(found), folder, meter, workers)
        shipped = _drained(client, FULFILLMENT_LINES, _told_fulfillments(found), folder, meter, workers)
        files += [*refunded.files, *shipped.files]
        transactions = {one.number: _transactions(one) for one in found}
        bodies = {one.number: _body(one, refunded.lines, shipped.lines) for one in found}
    versions = {one.number: one.version for one in found}
    return Documents(tuple(files), versions, frozenset(wanted) - versions.keys(), transactions, bodies)


@dataclass(frozen=True)
class _Document:
    """One object: what stands in itself, and the nodes of its connections."""

    root: Json
    children: Mapping[str, Sequence[Json]]

    @property
    def number(self) -> int:
        return _number(self.root["id"])

    @property
    def version(self) -> datetime:
        return max(datetime.fromisoformat(one["updatedAt"]) for one in (self.root, *self.children.get("inventoryLevels", ())))

    def lines(self) -> Iterator[bytes]:
        """As a bulk operation writes it: itself, then its children."""
        yield _line(self.root)
        for nodes in self.children.values():
            for node in nodes:
                yield _line({**node, "__parentId": self.root["id"]})


class _DocumentReader:
    """Reads objects of one type; its methods run in several threads."""

    def __init__(self, client: ShopifyClient, object_type: str, meter: Meter | None) -> None:
        self.client, self.name, self.meter = client, object_type, meter
        self.query = documents_query(object_type)

    def batch_size(self) -> int:
        return ids_a_query(self.client, self.query)

    def read(self, ids: list[str]) -> list[_Document]:
        """The objects that are there."""
        try:
            nodes = self.client.execute(self.query, {"ids": ids}, meter=self.meter)["nodes"]
        except QueryTooExpensiveError:
            if len(ids) == 1:
                raise
            half = len(ids) // 2
            return self.read(ids[:half]) + self.read(ids[half:])
        if len(nodes) != len(ids):
            raise UnexpectedAnswerError(
                f"{self.client.shop}: {self.name}: {len(ids)} ids were asked for, {len(nodes)} answered; run again, and report it when it stays"
            )
        return [document for node in nodes if node is not None and (document := self._whole(node)) is not None]

    def _whole(self, node: Json) -> _Document | None:
        """The object with every page of its connections; None when it was deleted while we read."""
        connections = _KINDS[self.name].first
        children: dict[str, list[Json]] = {}
        for name in connections:
            children[name] = []
            page, cursor = node[name], None
            while True:
                children[name] += [edge["node"] for edge in page["edges"]]
                if not page["pageInfo"]["hasNextPage"]:
                    break
                following = page["pageInfo"]["endCursor"]
                if following is None or following == cursor:
                    raise UnexpectedAnswerError(f"{self.client.shop}: {name}: the pages of {node['id']} do not go on; run again")
                cursor = following
                parent = self.client.execute(page_query(self.name, name), {"id": node["id"], "after": cursor}, meter=self.meter)["node"]
                if parent is None:
                    return None
                page = parent[name]
        return _Document({key: value for key, value in node.items() if key not in connections}, children)


@cache
def documents_query(object_type: str) -> str:
    """The query that reads objects of a type by `$ids`: the node of the bulk query, with first pages."""
    kind = _KINDS[object_type]
    parts = [
        _connection(kind, one, f"first: {kind.first[name]}") if (name := _name(one)) in kind.first else one for one in _bulk_node(kind)
    ]
    fields = " ".join([*map(print_ast, parts), *_more(kind, "")])
    return f"query {object_type}sById($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {object_type} {{ {fields} }} }} }}"


@cache
def page_query(object_type: str, connection: str) -> str:
    """The query that reads a further page of one connection of an object `$id`, after the cursor `$after`."""
    kind = _KINDS[object_type]
    page = print_ast(_connection(kind, next(one for one in _bulk_node(kind) if _name(one) == connection), f"first: {PAGE}, after: $after"))
    return f"query {object_type}Page($id: ID!, $after: String) {{ node(id: $id) {{ ... on {object_type} {{ id {page} }} }} }}"


def queries() -> dict[str, str]:
    """Every query of this module by a name for it."""
    pages = {f"{kind}.{name}": page_query(kind, name) for kind in _KINDS for name in _KINDS[kind].first}
    return {**{kind: documents_query(kind) for kind in _KINDS}, **pages}


def _bulk_node(kind: _Kind) -> tuple[SelectionNode, ...]:
    """What the bulk query selects of each object."""
    return _inside(operation_of(document(kind.bulk)).selection_set.selections[0], "edges", "node")


def _inside(node: Any, *path: str) -> tuple[SelectionNode, ...]:
    """The selections of the field at a path below a field."""
    for name in path:
        node = next(one for one in node.selection_set.selections if _name(one) == name)
    return tuple(node.selection_set.selections)


def _name(selection: SelectionNode) -> str:
    """A field's name; "" of a fragment."""
    return selection.name.value if isinstance(selection, FieldNode) else ""


def _connection(kind: _Kind, selection: SelectionNode, arguments: str) -> SelectionNode:
    """A connection of the bulk query with its page's arguments, and what tells of the next page."""
    name = _name(selection)
    fields = " ".join([*map(print_ast, _inside(selection, "edges", "node")), *_more(kind, name)])
    text = f"{{ {name}({arguments}) {{ edges {{ node {{ {fields} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    return _inside(parsed(text).definitions[0])[0]


def _more(kind: _Kind, name: str) -> tuple[str, ...]:
    return (kind.more[name],) if name in kind.more else ()


def _line(node: Json) -> bytes:
    return _dumped(node) + b"\n"


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _number(gid: str) -> int:
    return int(gid.rsplit("/", 1)[1].partition("?")[0])


def _reference(node: Json | None) -> int | None:
    return _number(node["id"]) if node else None


# -- orders: the lines of refunds and fulfillments, and the shapes of webhooks


@dataclass(frozen=True)
class _Drained:
    """Lines of refunds or fulfillments by the number of what they belong to, and the file they are in."""

    files: tuple[Path, ...]
    lines: Mapping[int, Sequence[Json]]


def _drained(client: ShopifyClient, kind: Drain, parents: Sequence[str], folder: Path, meter: Meter | None, workers: int) -> _Drained:
    """Read the lines of refunds or fulfillments, and write them beside the documents."""
    lines: dict[int, list[Json]] = {}
    if not parents:
        return _Drained((), lines)
    with PartWriter(folder, f"drain-{kind.name}") as writer:
        for _, (_, found) in side_by_side(LineReader(client, kind, meter), parents, workers):
            writer.write(b"".join(found))
            for line in map(json.loads, found):
                lines.setdefault(_number(line["__parentId"]), []).append(line)
        return _Drained(writer.commit().files, lines)


def _refunds(documents: Iterable[_Document]) -> list[str]:
    return [refund["id"] for one in documents for refund in one.root["refunds"]]


def _told_fulfillments(documents: Iterable[_Document]) -> list[str]:
    """The fulfillments whose lines do not follow from their order's (see `queries/fulfillments_to_drain.sql`)."""
    return [fulfillment["id"] for one in documents for fulfillment in one.root["fulfillments"] if not _follows_from_order(one, fulfillment)]


def _follows_from_order(one: _Document, fulfillment: Json) -> bool:
    """Whether it is the only live shipment of its order and holds every piece of it."""
    live = [found for found in one.root["fulfillments"] if found["status"] != "CANCELLED"]
    pieces = sum(line["quantity"] for line in one.children["lineItems"])
    return live == [fulfillment] and fulfillment["totalQuantity"] == pieces


def _transactions(one: _Document) -> list[bytes]:
    """An order's payments as `order_transactions/create` brings them."""
    return [
        _dumped(
            {
                "id": _number(found["id"]),
                "admin_graphql_api_id": found["id"],
                "order_id": one.number,
                "parent_id": _reference(found["parentTransaction"]),
                "kind": _lower(found["kind"]),
                "status": _lower(found["status"]),
                "gateway": found["gateway"],
                "test": found["test"],
                "error_code": _lower(found["errorCode"]),
                "amount": found["amountSet"]["shopMoney"]["amount"],
                "currency": found["amountSet"]["shopMoney"]["currencyCode"],
                "created_at": found["createdAt"],
                "processed_at": found["processedAt"],
            }
        )
        for found in one.root["transactions"]
    ]


def _body(one: _Document, refunded: Mapping[int, Sequence[Json]], shipped: Mapping[int, Sequence[Json]]) -> bytes:
    """What the books of stock read of an order's payload."""
    root, lines = one.root, one.children["lineItems"]
    whole = [{"id": _number(line["id"]), "quantity": line["quantity"]} for line in lines if line["quantity"] > 0]
    return _dumped(
        {
            "id": one.number,
            "admin_graphql_api_id": root["id"],
            "created_at": root["createdAt"],
            "updated_at": root["updatedAt"],
            "cancelled_at": root["cancelledAt"],
            "location_id": _reference(root["retailLocation"]),
            "line_items": [
                {
                    "id": _number(line["id"]),
                    "admin_graphql_api_id": line["id"],
                    "variant_id": _reference(line["variant"]),
                    "sku": line["sku"],
                    "quantity": line["quantity"],
                    "current_quantity": line["currentQuantity"],
                    "fulfillable_quantity": 0 if root["cancelledAt"] else line["unfulfilledQuantity"],
                    "requires_shipping": line["requiresShipping"],
                }
                for line in lines
            ],
            "fulfillments": [
                {
                    "id": _number(found["id"]),
                    "status": _lower(found["status"]),
                    "location_id": _reference(found["location"]),
                    "created_at": found["createdAt"],
                    "updated_at": found["updatedAt"],
                    "line_items": whole
                    if _follows_from_order(one, found)
                    else [
                        {"id": _reference(line["lineItem"]), "quantity": line["quantity"]} for line in shipped.get(_number(found["id"]), ())
                    ],
                }
                for found in root["fulfillments"]
            ],
            "refunds": [
                {
                    "id": _number(found["id"]),
                    "created_at": found["createdAt"],
                    "refund_line_items": [
                        {
                            "id": _number(line["id"]),
                            "quantity": line["quantity"],
                            "line_item_id": _reference(line["lineItem"]),
                            "location_id": _reference(line["location"]),
                            "restock_type": _lower(line["restockType"]),
                        }
                        for line in refunded.get(_number(found["id"]), ())
                    ],
                }
                for found in root["refunds"]
            ],
        }
    )


def _lower(value: str | None) -> str | None:
    return None if value is None else value.lower()
