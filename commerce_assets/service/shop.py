"""The shop as the settings have it: one way to a client of its Admin API, for pulls, pushes and the resident service."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from commerce_assets.config import SANDBOX_SHOP, SANDBOX_TOKEN, Settings

if TYPE_CHECKING:
    from commerce_assets.sources.shopify.client import ShopifyClient


def shop_domain(settings: Settings) -> str:
    """The shop whose deliveries are ours: `<shop>.myshopify.com`."""
    return settings.shopify_shop or SANDBOX_SHOP


def known_domain(settings: Settings) -> str:
    """As `shop_domain`; an embedded store is asked for its own, for a filled one has its own name."""
    if not settings.is_sandbox:
        return shop_domain(settings)
    from commerce_assets.sources.shopify.client import document
    from commerce_assets.sources.shopify.errors import ShopifyError

    try:
        with open_client(settings) as client:
            return str(client.execute(document("shop"))["shop"]["myshopifyDomain"])
    except ShopifyError:
        return shop_domain(settings)


@contextmanager
def open_client(settings: Settings, base_url: str | None = None, api_version: str | None = None) -> Iterator["ShopifyClient"]:
    """A client for one piece of work, closed at its end; credentials come from the settings when it is made."""
    from commerce_assets.sources.shopify.auth import auth_for
    from commerce_assets.sources.shopify.client import ShopifyClient

    url = base_url or settings.storefront_url
    secrets: dict[str, Any] = {
        "access_token": _reveal(settings.shopify_access_token),
        "client_id": settings.shopify_client_id,
        "client_secret": _reveal(settings.shopify_client_secret),
        "refresh_token": _reveal(settings.shopify_refresh_token),
    }
    if settings.is_sandbox and not any(secrets.values()):
        secrets["access_token"] = SANDBOX_TOKEN
    auth = auth_for(url, **secrets, state_dir=settings.data_root / "shopify")
    with ShopifyClient(url, api_version or settings.shopify_api_version, auth) as client:
        yield client


def _reveal(secret: Any) -> str | None:
    return secret.get_secret_value() if secret is not None else None
