"""From a declared sync to the destination it writes to: clients, credentials and folders, opened for one piece of work."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.activation.records import ConsentCheck, Destination
from commerce_assets.activation.targets import FileTarget, HttpTarget, ShopifyTarget, SqlTarget
from commerce_assets.config import Settings

if TYPE_CHECKING:
    from commerce_assets.sources.shopify.client import ShopifyClient

Say = Callable[[str], None]
OpenShop = Callable[[], AbstractContextManager["ShopifyClient"]]
GIDS_A_READ = 100


@contextmanager
def opened(declared: DeclaredSync, settings: Settings, open_shop: OpenShop, say: Say) -> Iterator[tuple[Destination, ConsentCheck | None]]:
    """The destination, and whom to ask for consent where the sync needs it; all closed at the end."""
    with ExitStack() as stack:
        needs_shop = declared.consent is not None or isinstance(declared.target, ShopifyTarget)
        client = stack.enter_context(open_shop()) if needs_shop else None
        consents = consents_at(client, declared.consent.channel) if client is not None and declared.consent else None
        yield _destination(declared, settings, client, say, stack), consents


def consents_at(client: "ShopifyClient", channel: str) -> ConsentCheck:
    """Asks the storefront, which holds the consents, about customers by gid. One that is gone there does not agree."""

    def agreeing(gids: Any) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(gids), GIDS_A_READ):
            nodes = client.execute(_consents_document(), {"ids": list(gids[start : start + GIDS_A_READ])})["nodes"]
            found |= {node["id"] for node in nodes if node and node.get("id") and _agrees(node, channel)}
        return found

    return agreeing


def _agrees(node: dict[str, Any], channel: str) -> bool:
    if channel == "sms":
        return ((node.get("defaultPhoneNumber") or {}).get("marketingState")) == "SUBSCRIBED"
    return ((node.get("defaultEmailAddress") or {}).get("marketingState")) == "SUBSCRIBED"


@cache
def _consents_document() -> str:
    return (files("commerce_assets.service") / "queries" / "consents_by_id.graphql").read_text(encoding="utf-8")


def _destination(declared: DeclaredSync, settings: Settings, client: "ShopifyClient | None", say: Say, stack: ExitStack) -> Destination:
    target, sync = declared.target, declared.as_sync()
    if isinstance(target, ShopifyTarget):
        assert client is not None
        return _shopify(declared, target, settings, client, say, Path(stack.enter_context(TemporaryDirectory())))
    if isinstance(target, FileTarget):
        from commerce_assets.activation.destinations.files import FileDestination

        exports = settings.data_root / "exports"
        return FileDestination(target, declared.fields, sync, root=exports, state_dir=settings.data_root / "activation" / "files")
    if isinstance(target, HttpTarget):
        from commerce_assets.activation.destinations.http import HttpDestination

        destination = HttpDestination(target, declared.fields, sync)
        stack.callback(destination.close)
        return destination
    assert isinstance(target, SqlTarget)
    from commerce_assets.activation.destinations.sql import SqlDestination

    return SqlDestination(target, declared.fields, sync, os.environ.get(target.url_env))


def _shopify(
    declared: DeclaredSync, target: ShopifyTarget, settings: Settings, client: "ShopifyClient", say: Say, folder: Path
) -> Destination:
    from commerce_assets.activation.destinations.shopify import ShopifyObjects
    from commerce_assets.activation.destinations.shopify_mapping import mapping_of
    from commerce_assets.sources.shopify.bulk import run_mutation

    def bulk(mutation: str, rows: Any) -> Any:
        return run_mutation(client, mutation, rows, folder, label=declared.title, progress=say)

    return ShopifyObjects(client, mapping_of(declared), bulk=bulk if target.bulk else None, bulk_threshold=settings.bulk_push_threshold)
