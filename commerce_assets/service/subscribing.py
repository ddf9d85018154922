"""The shop's webhook subscriptions made what is configured."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from commerce_assets.config import Settings
from commerce_assets.events.topics import TOPICS
from commerce_assets.service.shop import open_client

if TYPE_CHECKING:
    from commerce_assets.sources.shopify.webhook_subscriptions import Diff

PATH = "/webhooks/shopify"


class SubscriptionSettingsError(Exception):
    """What is configured cannot be subscribed to; the message says what to change."""


def wanted_topics(settings: Settings) -> list[str]:
    """The configured topics, or all that have a meaning here and can be subscribed to. Raises `SubscriptionSettingsError`."""
    known = {name for name, topic in TOPICS.items() if topic.is_subscribable}
    if settings.webhook_topics is None:
        return sorted(known)
    asked = {name.strip() for name in settings.webhook_topics.split(",") if name.strip()}
    unknown = sorted(asked - known)
    if unknown:
        raise SubscriptionSettingsError(
            f"COMMERCE_WEBHOOK_TOPICS names {', '.join(unknown)}, which nothing here takes or the app's own configuration subscribes to; "
            f"known: {', '.join(sorted(known))}"
        )
    return sorted(asked)


def synchronise(
    settings: Settings, address: str | None = None, *, dry_run: bool = False, announce: Callable[["Diff"], None] | None = None
) -> "Diff":
    """Read what is subscribed, work out the difference, `announce` it, and apply it unless `dry_run`; the difference."""
    from commerce_assets.sources.shopify import webhook_subscriptions as subscriptions

    uri = subscribed_uri(settings, address)
    with open_client(settings) as client:
        diff = subscriptions.plan(subscriptions.to_address(wanted_topics(settings), uri), subscriptions.read(client))
        if announce:
            announce(diff)
        if not dry_run:
            subscriptions.apply(client, diff)
    return diff


def subscribed_uri(settings: Settings, address: str | None = None) -> str:
    """Where the shop is to deliver to. Raises `SubscriptionSettingsError` where that is not known."""
    base = address or settings.webhook_address
    if base is None and settings.is_sandbox:
        base = f"http://{settings.events_host}:{settings.events_port}"
    if base is None:
        raise SubscriptionSettingsError(
            "under which https address does the shop reach `commerce serve`? Set COMMERCE_WEBHOOK_ADDRESS or give --address"
        )
    return base if base.endswith(PATH) else base.rstrip("/") + PATH
