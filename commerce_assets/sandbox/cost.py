"""What a query costs, and the leaky bucket that pays for it.

The formula was fitted to recorded `extensions.cost` (tests/conformance/test_sandbox_recorded_costs.py counts how many agree):

* a scalar or enum is free, an object costs 1, a count 10; a mutation 10, its payload's own objects included;
* money, weights, postal addresses and page infos are free objects; a list costs what one object costs;
* a connection of `first: n` costs 2 plus max(1, floor(2 ln n)) times what one node costs, and pays for `nodes` and
  `edges` separately where both are selected;
* the actual cost is the same sum over what was really returned: a connection that is not full pays for its share of
  nodes, an empty one as if its nodes had no children, a null object 1.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    is_composite_type,
    value_from_ast_untyped,
)

MAXIMUM_QUERY_COST = 1000
MUTATION_COST = 10
COUNT_COST = 10
CONNECTION_COST = 2
FREE_TYPES = frozenset({"MoneyBag", "MoneyV2", "MailingAddress", "PageInfo", "Weight", "InventoryItemMeasurement"})
# Points restored a second; the bucket holds twenty times as many.
PLANS = {"standard": 100.0, "advanced": 200.0, "plus": 1000.0, "enterprise": 2000.0}
BUCKET_SECONDS = 20


def scale(count: int) -> int:
    """By how much the cost of one node is multiplied in a connection of `count` nodes."""
    return max(1, math.floor(2 * math.log(count))) if count > 0 else 0


@dataclass
class CostModel:
    """Costs the operations of one schema."""

    schema: GraphQLSchema

    def requested(self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> int:
        """What the operation may cost at most."""
        walk = _Walk(self.schema, document, variables)
        if operation.operation is OperationType.MUTATION:
            return int(walk.mutation(operation.selection_set, self.schema.mutation_type, walk.field))
        return int(walk.selection(operation.selection_set, self.schema.query_type))

    def actual(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any], data: Mapping[str, Any] | None
    ) -> int:
        """What the operation cost, given what it returned."""
        walk = _Walk(self.schema, document, variables)
        if operation.operation is OperationType.MUTATION:
            return round(walk.returned_mutation(operation.selection_set, self.schema.mutation_type, data or {}))
        if data is None:
            return 0
        return round(walk.returned(operation.selection_set, self.schema.query_type, data))


class _Walk:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self.schema = schema
        self.variables = dict(variables)
        self.fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}

    def fields(self, selections: SelectionSetNode, parent: Any) -> Any:
        """(field node, its type) for every field of a selection, fragments included."""
        for node in selections.selections:
            if isinstance(node, FieldNode):
                definition = parent.fields.get(node.name.value) if hasattr(parent, "fields") else None
                if definition is not None:
                    yield node, get_named_type(definition.type)
            elif isinstance(node, FragmentSpreadNode):
                fragment = self.fragments.get(node.name.value)
                if fragment is not None:
                    yield from self.fields(fragment.selection_set, self.schema.type_map.get(fragment.type_condition.name.value))
            elif isinstance(node, InlineFragmentNode):
                narrowed = self.schema.type_map.get(node.type_condition.name.value) if node.type_condition else parent
                yield from self.fields(node.selection_set, narrowed)

    def mutation(self, selections: SelectionSetNode, root: Any, cost: Callable[[FieldNode, Any], float]) -> float:
        """A mutation pays 10, and for what is selected below the objects of its payload."""
        total = 0.0
        for node, payload in self.fields(selections, root):
            total += MUTATION_COST
            for inner, kind in self.fields(node.selection_set, payload) if node.selection_set else ():
                if inner.selection_set is not None:
                    total += sum(cost(leaf, leaf_kind) for leaf, leaf_kind in self.fields(inner.selection_set, kind))
        return total

    def returned_mutation(self, selections: SelectionSetNode, root: Any, data: Mapping[str, Any]) -> float:
        total = 0.0
        for node, payload in self.fields(selections, root):
            total += MUTATION_COST
            value = data.get(node.alias.value if node.alias else node.name.value)
            for inner, kind in self.fields(node.selection_set, payload) if node.selection_set else ():
                if inner.selection_set is None or not isinstance(value, dict):
                    continue
                target = value.get(inner.alias.value if inner.alias else inner.name.value)
                items = [item for item in (target if isinstance(target, list) else [target]) if isinstance(item, dict)]
                total += max((self.returned(inner.selection_set, kind, item) for item in items), default=0)
        return total

    def selection(self, selections: SelectionSetNode, parent: Any) -> float:
        return sum(self.field(node, kind) for node, kind in self.fields(selections, parent))

    def field(self, node: FieldNode, kind: Any) -> float:
        if node.selection_set is None or not is_composite_type(kind):
            return 0
        if kind.name == "Count":
            return COUNT_COST
        if _is_connection(kind):
            return CONNECTION_COST + scale(self.page_size(node)) * self.nodes(node.selection_set, kind)
        return self.one(kind) + self.selection(node.selection_set, kind)

    def nodes(self, selections: SelectionSetNode, connection: Any) -> float:
        """What one node of a connection costs (`nodes` and `edges { node }` both count)."""
        total = 0.0
        for node, kind in self.fields(selections, connection):
            if node.name.value == "nodes" and node.selection_set is not None:
                total += self.one(kind) + self.selection(node.selection_set, kind)
            elif node.name.value == "edges" and node.selection_set is not None:
                for inner, inner_kind in self.fields(node.selection_set, kind):
                    if inner.selection_set is not None:
                        total += self.one(inner_kind) + self.selection(inner.selection_set, inner_kind)
        return total

    def returned(self, selections: SelectionSetNode, parent: Any, data: Any) -> float:
        return sum(self.returned_field(node, kind, data) for node, kind in self.fields(selections, parent))

    def returned_field(self, node: FieldNode, kind: Any, data: Any) -> float:
        if node.selection_set is None or not is_composite_type(kind):
            return 0
        value = data.get(node.alias.value if node.alias else node.name.value) if isinstance(data, dict) else None
        if kind.name == "Count":
            return COUNT_COST
        if _is_connection(kind):
            return CONNECTION_COST + (self.returned_nodes(node, kind, value) if isinstance(value, dict) else 0)
        own = self.one(kind)
        if isinstance(value, list):
            items = [item for item in value if isinstance(item, dict)]
            return own + max((self.returned(node.selection_set, kind, item) for item in items), default=0)
        return own + self.returned(node.selection_set, kind, value) if isinstance(value, dict) else own

    def returned_nodes(self, connection_node: FieldNode, connection: Any, value: Mapping[str, Any]) -> float:
        asked = self.page_size(connection_node)
        total = 0.0
        for node, kind in self.fields(connection_node.selection_set, connection) if connection_node.selection_set else ():
            if node.name.value not in ("nodes", "edges") or node.selection_set is None:
                continue
            items = [item for item in value.get(node.alias.value if node.alias else node.name.value) or () if isinstance(item, dict)]
            own = self.one(kind) if node.name.value == "nodes" else 0
            costs = [own + self.returned(node.selection_set, kind, item) for item in items]
            if not costs:
                total += scale(asked)
            elif len(costs) >= asked:
                total += scale(asked) * sum(costs) / len(costs)
            else:
                total += max(1.0, round(2 * math.log(asked) / asked * sum(costs)))
        return total

    def one(self, kind: Any) -> int:
        return 0 if kind.name in FREE_TYPES else 1

    def page_size(self, node: FieldNode) -> int:
        for argument in node.arguments:
            if argument.name.value in ("first", "last"):
                value = value_from_ast_untyped(argument.value, self.variables)
                if isinstance(value, int) and value >= 0:
                    return value
        return 1


def _is_connection(kind: Any) -> bool:
    return isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)) and kind.name.endswith("Connection")


@dataclass
class Bucket:
    """A leaky bucket of cost points: full at first, refilled at a constant rate."""

    rate: float
    clock: Callable[[], float] = time.monotonic
    level: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        """Start full."""
        self.level = self.maximum
        self.at = self.clock()
        self._lock = threading.Lock()

    @property
    def maximum(self) -> float:
        """The most the bucket holds."""
        return self.rate * BUCKET_SECONDS

    def _refill(self) -> None:
        now = self.clock()
        self.level = min(self.maximum, self.level + (now - self.at) * self.rate)
        self.at = now

    def take(self, points: float) -> bool:
        """Reserve points; False (and nothing taken) where there are not enough."""
        with self._lock:
            self._refill()
            if points > self.level:
                return False
            self.level -= points
            return True

    def give_back(self, points: float) -> None:
        """Refund what was reserved but not used."""
        with self._lock:
            self._refill()
            self.level = min(self.maximum, self.level + points)

    def empty(self) -> None:
        """Spend everything, and half a second more (a fault: somebody else of the same app was busy)."""
        with self._lock:
            self._refill()
            self.level = -self.rate / 2

    def status(self) -> dict[str, int]:
        """As `extensions.cost.throttleStatus` prints it."""
        with self._lock:
            self._refill()
            return {
                "maximumAvailable": int(self.maximum),
                "currentlyAvailable": max(0, math.floor(self.level)),
                "restoreRate": int(self.rate),
            }
