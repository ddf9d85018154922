"""Who subscribed to what: the store's subscriptions, by topic, and what each wants to be sent.

Belongs here: reading subscriptions, topic names, included fields. Does not belong here: the API's mutations (mutations/webhooks.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from commerce_assets.sandbox import search
from commerce_assets.sandbox.documents import Doc, gid_number
from commerce_assets.sandbox.store import Store

KIND = "WebhookSubscription"
# Configured with the app, not subscribed to; they go wherever the app receives anything.
COMPLIANCE = frozenset({"customers/data_request", "customers/redact", "shop/redact"})


def enum_of(topic: str) -> str:
    """The topic of a header (`orders/create`, `customer.tags_added`) as GraphQL names it (`ORDERS_CREATE`)."""
    return topic.replace("/", "_").replace(".", "_").upper()


class Directory:
    """The subscriptions of a store, kept in memory until somebody says that they changed. Safe to ask from many threads."""

    def __init__(self, store: Store) -> None:
        """Nothing is read until it is asked for."""
        self.store = store
        self._known: tuple[dict[int, Doc], dict[str, list[Doc]]] | None = None

    def forget(self) -> None:
        """Read them anew the next time."""
        self._known = None

    def _read(self) -> tuple[dict[int, Doc], dict[str, list[Doc]]]:
        known = self._known
        if known is None:
            by_number = {number: doc for _, number, doc in self.store.iterate(KIND)}
            by_topic: dict[str, list[Doc]] = {}
            for doc in by_number.values():
                by_topic.setdefault(doc["topic"], []).append(doc)
            known = self._known = by_number, by_topic
        return known

    def get(self, number: int) -> Doc | None:
        """One subscription."""
        return self._read()[0].get(number)

    def of(self, topic: str) -> list[Doc]:
        """The subscriptions to a topic, as headers name it."""
        return self._read()[1].get(enum_of(topic), [])

    def topics(self) -> Iterable[str]:
        """The topics that somebody subscribed to, as GraphQL names them."""
        return self._read()[1].keys()

    def all(self) -> list[Doc]:
        """Every subscription, oldest first."""
        return list(self._read()[0].values())


def number_of(subscription: Doc) -> int:
    """The number of a subscription."""
    return gid_number(subscription["id"])


def included(payload: Doc, fields: Iterable[str]) -> Doc:
    """The payload with only these fields (`id`, `customer.email`, `line_items.sku`); all of it where none is named."""
    wanted: dict[str, Any] = {}
    for name in fields:
        level = wanted
        *parents, last = name.split(".")
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = {}
    return _picked(payload, wanted) if wanted else payload


def _picked(value: Any, wanted: dict[str, Any]) -> Any:
    if not wanted:
        return value
    if isinstance(value, list):
        return [_picked(item, wanted) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _picked(value[name], inner) for name, inner in wanted.items() if name in value}


def is_filter(text: str) -> bool:
    """Whether a text can filter: at least one condition, each naming its field."""
    node = search.parse(text)
    return node is not None and all(term.field for term in _terms(node))


def _terms(node: search.Node) -> Iterable[search.Term]:
    if isinstance(node, search.Term):
        return [node]
    parts = (node.part,) if isinstance(node, search.Not) else node.parts
    return [term for part in parts for term in _terms(part)]


def passes(text: str | None, payload: Doc) -> bool:
    """Whether a subscription's filter lets a payload through."""
    node = search.parse(text) if text else None
    return node is None or _holds(node, payload)


def _holds(node: search.Node, payload: Doc) -> bool:
    if isinstance(node, search.Not):
        return not _holds(node.part, payload)
    if isinstance(node, search.All):
        return all(_holds(part, payload) for part in node.parts)
    if isinstance(node, search.Any_):
        return any(_holds(part, payload) for part in node.parts)
    return any(_fits(node, value) for value in _values(payload, (node.field or "").split(".")))


def _values(value: Any, path: list[str]) -> list[Any]:
    if isinstance(value, list):
        return [found for item in value for found in _values(item, path)]
    if not path:
        return [] if value is None else [value]
    return _values(value.get(path[0]), path[1:]) if isinstance(value, dict) else []


def _fits(term: search.Term, value: Any) -> bool:
    if term.value == "*":
        return True
    left: Any = str(value).lower()
    right: Any = term.value.lower()
    with suppress(InvalidOperation):
        left, right = Decimal(left), Decimal(right)
    if not term.compare:
        return bool(left.startswith(right[:-1])) if isinstance(right, str) and right.endswith("*") else bool(left == right)
    return bool({">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[term.compare])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
