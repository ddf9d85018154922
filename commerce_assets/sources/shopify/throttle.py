"""The cost budget of one app at one shop: what a query will cost, how long to wait for it, what came back.

Shopify restores points at a steady rate into a bucket. A request's estimated cost is taken from our copy of the bucket before it is sent, and the
sender sleeps until the bucket would be whole again: so requests never collide with the limit on purpose. Every answer corrects the copy.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    parse,
)

STANDARD_POINTS = 2_000.0
STANDARD_RATE = 100.0
"""Recorded: maximumAvailable 2000 and restoreRate 100 on a standard plan; assumed until the first answer."""
MUTATION_COST = 10
COUNT_COST = 10
"""Recorded: productsCount and its like cost 10."""
DEFAULT_PAGE = 10
_REMEMBERED = 8
_NEWEST_SHARE = 0.1
"""What the newest answer counts in the moving average of how long answers take."""


@dataclass(frozen=True)
class ThrottleStatus:
    """Shopify's own account of the bucket."""

    maximum_available: float
    currently_available: float
    restore_rate: float


@dataclass(frozen=True)
class Cost:
    """`extensions.cost` of one answer; `actual` is None when the query was not run."""

    requested: float
    actual: float | None
    status: ThrottleStatus | None

    @classmethod
    def of(cls, extensions: Mapping[str, Any]) -> Cost | None:
        """Read it from an answer's extensions; None where there is none."""
        cost = extensions.get("cost")
        if not isinstance(cost, Mapping) or cost.get("requestedQueryCost") is None:
            return None
        status = cost.get("throttleStatus")
        actual = cost.get("actualQueryCost")
        return cls(
            float(cost["requestedQueryCost"]),
            None if actual is None else float(actual),
            ThrottleStatus(float(status["maximumAvailable"]), float(status["currentlyAvailable"]), float(status["restoreRate"]))
            if isinstance(status, Mapping)
            else None,
        )


@dataclass(frozen=True)
class Reservation:
    """Points taken from the bucket for one request, and how many answers had been seen when it was sent."""

    points: float
    answers_seen: int
    sent_at: float = 0.0


class Throttle:
    """Our copy of one bucket, shared by all threads that talk to the shop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._maximum = STANDARD_POINTS
        self._rate = STANDARD_RATE
        self._level = STANDARD_POINTS
        self._at = clock()
        self._reserved = 0.0
        self._answers = 0
        self._ratios: dict[str, deque[float]] = {}
        self.status: ThrottleStatus | None = None
        self.answer_seconds: float | None = None
        """How long an answer takes from sending on, waiting for the budget aside: a moving average; None until there was one."""

    def estimate(self, document: str, variables: Mapping[str, Any] | None = None) -> float:
        """What `document` will be charged on sending: its size, scaled by what Shopify charged for it before."""
        size = document_size(document, variables or {})
        with self._lock:
            ratios = self._ratios.get(document)
            return max(1.0, math.ceil(size * max(ratios))) if ratios else float(size)

    def learn(self, document: str, variables: Mapping[str, Any] | None, requested: float) -> None:
        """Remember what Shopify asked for `document`."""
        size = document_size(document, variables or {})
        with self._lock:
            self._ratios.setdefault(document, deque(maxlen=_REMEMBERED)).append(requested / size)

    def acquire(self, points: float, pause: Callable[[float], None]) -> Reservation:
        """Take `points`, sleeping by `pause` until the bucket holds them. Those who ask first are served first."""
        with self._lock:
            points = min(points, self._maximum)
            self._refill()
            self._level -= points
            self._reserved += points
            wait = max(0.0, -self._level / self._rate)
        if wait > 0:
            try:
                pause(wait)
            except BaseException:
                self.settle(Reservation(points, self._answers), None)
                raise
        with self._lock:
            return Reservation(points, self._answers, self._clock())

    def settle(self, reservation: Reservation, cost: Cost | None) -> None:
        """Book a request's end: refund what it did not use, and believe the shop's own figure."""
        with self._lock:
            self._refill()
            self._reserved -= reservation.points
            used = (cost.actual or 0.0) if cost else 0.0
            self._level = min(self._maximum, self._level + reservation.points - used)
            if cost is None or cost.status is None:
                return
            took = self._at - reservation.sent_at
            self.answer_seconds = (
                took if self.answer_seconds is None else self.answer_seconds + (took - self.answer_seconds) * _NEWEST_SHARE
            )
            self.status = cost.status
            self._maximum, self._rate = cost.status.maximum_available, max(cost.status.restore_rate, 1.0)
            shops_view = cost.status.currently_available - self._reserved
            # An answer that was overtaken by another one is an older picture: it may lower our figure, never raise it.
            overtaken = self._answers > reservation.answers_seen
            self._level = min(self._level, shops_view) if overtaken else shops_view
            self._answers += 1

    def exact_wait_seconds(self, points: float) -> float:
        """How long until `points` are there, by the latest figures."""
        with self._lock:
            self._refill()
            return max(0.0, (min(points, self._maximum) - self._level) / self._rate)

    @property
    def maximum(self) -> float:
        return self._maximum

    @property
    def available(self) -> float:
        """Points that could be spent now, by our copy; never negative."""
        with self._lock:
            self._refill()
            return max(0.0, self._level)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._maximum, self._level + (now - self._at) * self._rate)
        self._at = now


_shared: dict[str, Throttle] = {}
_shared_lock = threading.Lock()


def shared_throttle(key: str) -> Throttle:
    """The one bucket of this process for `key` (shop and app)."""
    with _shared_lock:
        return _shared.setdefault(key, Throttle())


@lru_cache(maxsize=256)
def parsed(document: str) -> DocumentNode:
    """The parsed document, once per text."""
    return parse(document, no_location=True)


def operation_of(document: str) -> OperationDefinitionNode:
    """The (single) operation of a document."""
    return next(node for node in parsed(document).definitions if isinstance(node, OperationDefinitionNode))


def is_mutation(document: str) -> bool:
    """Whether the document writes."""
    return operation_of(document).operation is OperationType.MUTATION


def document_size(document: str, variables: Mapping[str, Any]) -> int:
    """What the document costs at most: an object 1, a mutation 10, a connection by its first/last; money and lists cost less in truth.

    Never less than any recorded `requestedQueryCost` (tests/conformance/test_shopify_documents.py); `Throttle.learn` keeps the ratio to it.
    """
    operation = operation_of(document)
    fragments = {node.name.value: node for node in parsed(document).definitions if isinstance(node, FragmentDefinitionNode)}
    size = _selections(operation.selection_set, variables, fragments)
    mutations = len(operation.selection_set.selections) if operation.operation is OperationType.MUTATION else 0
    return max(1, size + MUTATION_COST * mutations)


def _selections(selections: SelectionSetNode | None, variables: Mapping[str, Any], fragments: Mapping[str, FragmentDefinitionNode]) -> int:
    if selections is None:
        return 0
    size = 0
    for node in selections.selections:
        if isinstance(node, FieldNode):
            size += _field(node, variables, fragments)
        elif isinstance(node, InlineFragmentNode):
            size += _selections(node.selection_set, variables, fragments)
        elif isinstance(node, FragmentSpreadNode):
            size += _selections(fragments[node.name.value].selection_set, variables, fragments)
    return size


def _field(field: FieldNode, variables: Mapping[str, Any], fragments: Mapping[str, FragmentDefinitionNode]) -> int:
    if field.selection_set is None or _is_left_out(field, variables):
        return 0
    arguments = {argument.name.value: _value(argument.value, variables) for argument in field.arguments}
    if isinstance(arguments.get("ids"), list):
        return len(arguments["ids"]) * (1 + _selections(field.selection_set, variables, fragments))
    if field.name.value.endswith("Count"):
        return COUNT_COST
    if not {"first", "last"} & arguments.keys():
        return 1 + _selections(field.selection_set, variables, fragments)
    page = _weight(next((arguments[name] for name in ("first", "last") if isinstance(arguments.get(name), int)), DEFAULT_PAGE))
    size = 2  # recorded: 3 for a connection of one object
    for node in field.selection_set.selections:
        if isinstance(node, FieldNode) and node.name.value == "edges":
            size += page * _selections(node.selection_set, variables, fragments)
        elif isinstance(node, FieldNode) and node.name.value == "nodes":
            size += page * (1 + _selections(node.selection_set, variables, fragments))
        elif isinstance(node, FieldNode) and node.selection_set is not None:
            size += 1
    return size


def _weight(page: int) -> int:
    """By how much a node's cost is multiplied in a page; recorded: 3 for `first: 1`, 9 for 50, 13 for 250 of one object each."""
    return max(1, math.floor(2 * math.log(page))) if page > 0 else 0


def _is_left_out(field: FieldNode, variables: Mapping[str, Any]) -> bool:
    return any(
        directive.name.value == "include" and _value(directive.arguments[0].value, variables) is not True for directive in field.directives
    )


def _value(node: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    if isinstance(node, IntValueNode):
        return int(node.value)
    return getattr(node, "value", None)
