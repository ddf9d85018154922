"""The storefront as the worker asks it: whole documents by id, and what changed since; one client for all lanes, one budget."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from commerce_assets.events.ports import FetchedDocuments, StorefrontUnavailableError
from commerce_assets.sources.shopify.changes import changed_since
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.documents_by_id import fetch_documents
from commerce_assets.sources.shopify.errors import (
    AccessDeniedError,
    ApiVersionError,
    AuthenticationError,
    RateLimitedError,
    RequestFailedError,
    ShopifyConfigurationError,
    ShopifyInterruptedError,
    ShopUnavailableError,
)

UNAVAILABLE = (
    RequestFailedError,
    RateLimitedError,
    ShopUnavailableError,
    ShopifyInterruptedError,
    # What a person has to put right is no fault of an event either: it waits.
    AuthenticationError,
    AccessDeniedError,
    ApiVersionError,
    ShopifyConfigurationError,
)
"""Errors that say nothing about the event: it is tried again without using up its attempts."""


class ShopStorefront:
    """`events.ports.Storefront` over the Admin API."""

    def __init__(self, client: ShopifyClient) -> None:
        self.client = client

    def fetch(self, object_type: str, ids: Sequence[int], folder: Path) -> FetchedDocuments:
        """Read whole documents (Order, Customer, Product, InventoryItem) by id."""
        with _asked():
            found = fetch_documents(self.client, object_type, ids, folder)
        return FetchedDocuments(found.files, found.versions, found.missing, found.transactions, found.bodies)

    def changed_since(self, object_type: str, since: datetime, limit: int) -> list[tuple[int, datetime]]:
        """(id, updatedAt) of what changed since a moment, oldest first, at most `limit`."""
        with _asked():
            return changed_since(self.client, object_type, since, limit)


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except UNAVAILABLE as error:
        raise StorefrontUnavailableError(str(error)) from error
