"""Webhook subscriptions at the shop: what is there, what should be, and the fewest changes from one to the other.

Belongs here: subscriptions of this app made through the Admin API. Does not belong here: which topics have a meaning (events), and
compliance topics, which are set in the app's own configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from commerce_assets.sources.shopify.client import ShopifyClient, document, user_error_text
from commerce_assets.sources.shopify.errors import UnexpectedAnswerError, UserErrorsError

PAGE = 100


@dataclass(frozen=True)
class Subscription:
    """One subscription. `topic` as GraphQL names it (ORDERS_CREATE); `id` is None until the shop has it."""

    topic: str
    uri: str
    filter: str | None = None
    include_fields: tuple[str, ...] = ()
    metafield_namespaces: tuple[str, ...] = ()
    format: str = "JSON"
    id: str | None = field(default=None, compare=False)
    api_version: str | None = field(default=None, compare=False)

    def shown(self) -> str:
        """For people, on one line."""
        notes = [f"filter {self.filter!r}"] if self.filter else []
        notes += [f"fields {', '.join(self.include_fields)}"] if self.include_fields else []
        notes += [f"metafields {', '.join(self.metafield_namespaces)}"] if self.metafield_namespaces else []
        notes += [self.format] if self.format != "JSON" else []
        return f"{self.topic} -> {self.uri}" + (f" ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True)
class Diff:
    """What is to be done: subscriptions to make, pairs (present, wanted) to change, and those to end."""

    create: tuple[Subscription, ...] = ()
    update: tuple[tuple[Subscription, Subscription], ...] = ()
    delete: tuple[Subscription, ...] = ()
    unchanged: tuple[Subscription, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.update or self.delete)

    @property
    def summary(self) -> str:
        """For people, on one line."""
        changes = f"{len(self.create)} to create, {len(self.update)} to update, {len(self.delete)} to delete"
        return f"{len(self.unchanged)} subscribed" + ("" if self.is_empty else f", {changes}")

    def lines(self) -> list[str]:
        """For people: one line a change, then what stays."""
        changes = [f"+ {one.shown()}" for one in self.create]
        changes += [f"~ {old.shown()}  =>  {new.shown()}" for old, new in self.update]
        changes += [f"- {one.shown()}" for one in self.delete]
        return [*sorted(changes, key=lambda line: (line[2:], line)), f"= {len(self.unchanged)} unchanged"]


def enum_of(topic: str) -> str:
    """A topic as GraphQL names it: `orders/create` is ORDERS_CREATE."""
    return topic.replace("/", "_").replace(".", "_").upper()


def to_address(topics: Iterable[str], uri: str) -> list[Subscription]:
    """One subscription a topic, all to one address; topics as in `X-Shopify-Topic`."""
    return [Subscription(topic, uri) for topic in dict.fromkeys(map(enum_of, topics))]


def read(client: ShopifyClient) -> list[Subscription]:
    """The app's subscriptions at the shop."""
    return [
        Subscription(
            topic=node["topic"],
            uri=node["uri"],
            filter=node["filter"] or None,
            include_fields=tuple(node["includeFields"]),
            metafield_namespaces=tuple(node["metafieldNamespaces"]),
            format=node["format"],
            id=node["id"],
            api_version=node["apiVersion"]["handle"],
        )
        for node in _nodes(client)
    ]


def plan(wanted: Sequence[Subscription], present: Sequence[Subscription]) -> Diff:
    """The fewest changes that make what is present what is wanted.

    A subscription keeps its topic for life, so only those of one topic can stand for each other: first equals, then those to the same
    address, then any.
    """
    create: list[Subscription] = []
    update: list[tuple[Subscription, Subscription]] = []
    delete: list[Subscription] = []
    unchanged: list[Subscription] = []
    for topic in sorted({one.topic for one in (*wanted, *present)}):
        open_ones = list(dict.fromkeys(one for one in wanted if one.topic == topic))
        free = [one for one in present if one.topic == topic]
        unchanged += [old for _, old in _paired(open_ones, free, lambda one: one)]
        update += [(old, replace(new, id=old.id)) for new, old in _paired(open_ones, free, lambda one: one.uri)]
        update += [(old, replace(new, id=old.id)) for new, old in _paired(open_ones, free, lambda one: one.topic)]
        create += open_ones
        delete += free
    return Diff(tuple(create), tuple(update), tuple(delete), tuple(unchanged))


def apply(client: ShopifyClient, diff: Diff) -> None:
    """Make the changes: what is new first, so that no event falls between.

    What the shop refuses is left out and told at the end by a `UserErrorsError`; all else is done. Doing it again does the rest.
    """
    refusals: list[str] = []
    for one in diff.create:
        variables: dict[str, Any] = {"topic": one.topic, "subscription": _input(one)}
        refusals += _refusals(one, client.execute(document("webhook_subscription_create"), variables)["webhookSubscriptionCreate"])
    for old, new in diff.update:
        variables = {"id": old.id, "subscription": _input(new)}
        answer = client.execute(document("webhook_subscription_update"), variables, idempotent=True)
        refusals += _refusals(new, answer["webhookSubscriptionUpdate"])
    for one in diff.delete:
        answer = client.execute(document("webhook_subscription_delete"), {"id": one.id}, idempotent=True)
        refusals += [text for text in _refusals(one, answer["webhookSubscriptionDelete"]) if "does not exist" not in text]
    if refusals:
        more = f" (and {len(refusals) - 3} more)" if len(refusals) > 3 else ""
        raise UserErrorsError(
            f"{client.shop}: subscriptions were refused: {'; '.join(refusals[:3])}{more}; all others are as wanted: correct the address or topics and run again",
            [],
        )


def _paired(
    wanted: list[Subscription], present: list[Subscription], key: Callable[[Subscription], Hashable]
) -> Iterator[tuple[Subscription, Subscription]]:
    """Pairs of equal keys, each taken out of both lists."""
    for new in list(wanted):
        old = next((one for one in present if key(one) == key(new)), None)
        if old is not None:
            wanted.remove(new)
            present.remove(old)
            yield new, old


def _input(one: Subscription) -> dict[str, Any]:
    """As the mutations take it. What is empty is said, too: an update leaves alone what it does not name."""
    return {
        "uri": one.uri,
        "format": one.format,
        "filter": one.filter or "",
        "includeFields": list(one.include_fields),
        "metafieldNamespaces": list(one.metafield_namespaces),
    }


def _refusals(one: Subscription, payload: dict[str, Any]) -> list[str]:
    errors = payload["userErrors"]
    return [f"{one.topic}: {user_error_text(errors)}"] if errors else []


def _nodes(client: ShopifyClient) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = client.execute(document("webhook_subscriptions"), {"first": PAGE, "after": cursor})["webhookSubscriptions"]
        for edge in page["edges"]:
            yield edge["node"]
        if not page["pageInfo"]["hasNextPage"]:
            return
        following = page["pageInfo"]["endCursor"]
        if following is None or following == cursor:
            raise UnexpectedAnswerError(f"{client.shop}: webhook subscriptions: the pages do not go on; run again")
        cursor = following
