"""`commerce doctor`: what is configured, reachable and permitted, and what to do about what is not. Writes nothing."""

import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from commerce_assets.config import Settings

REQUIRED_SCOPES = (
    "read_orders",
    "read_products",
    "read_inventory",
    "read_locations",
    "read_customers",
)
"""What reading needs; syncs add what they write. `read_all_orders` adds orders older than 60 days (approved by Shopify); reported, not required."""
STOCK_SCOPES = ("write_inventory",)
"""What pushing a warehouse's numbers needs."""
MINIMUM_FREE_BYTES = 2 * 1024**3
PINS = {"duckdb": "1.5.5"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, whether it is well, what was seen, and what to do when it is not."""

    name: str
    is_ok: bool
    seen: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; each look is independent, none raises."""
    findings = [_python(), *_packages(), _disk(settings), _port(settings)]
    findings.extend(_shop(settings))
    return findings


def render(findings: list[Finding]) -> str:
    """Findings as lines for a person."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.name:<{width}}  {finding.seen}")
        if finding.advice:
            lines.append(f"      {'':<{width}}  -> {finding.advice}")
    return "\n".join(lines)


def _scopes_of_syncs(settings: Settings) -> tuple[str, ...]:
    """What the declared syncs write to the shop, those left to people aside."""
    from commerce_assets.activation.destinations.shopify_mapping import mapping_of
    from commerce_assets.activation.targets import ShopifyTarget
    from commerce_assets.service.syncs import declared_syncs

    declared = [placed.declared for placed in declared_syncs(settings).values()]
    ours = [one for one in declared if isinstance(one.target, ShopifyTarget) and one.automation != "manual"]
    needed = {scope for one in ours for scope in mapping_of(one).owner.scopes}
    # What reads older orders is reported, not required: Shopify approves it.
    return tuple(sorted(needed - {"read_all_orders", *REQUIRED_SCOPES}))


def _python() -> Finding:
    seen = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", sys.version_info >= (3, 11), seen, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    for package, pinned in PINS.items():
        try:
            seen = version(package)
        except PackageNotFoundError:
            seen = "not installed"
        is_ok = seen == pinned
        yield Finding(package, is_ok, seen, "" if is_ok else f"`make setup` installs {package} {pinned}")


def _disk(settings: Settings) -> Finding:
    root = settings.data_root
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free
    is_ok = free >= MINIMUM_FREE_BYTES
    advice = "" if is_ok else "free some space or set COMMERCE_DATA_ROOT to a larger disk"
    return Finding("free disk", is_ok, f"{free / 1024**3:.1f} GiB at the data root", advice)


def _port(settings: Settings) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1)
        is_taken = probe.connect_ex(("127.0.0.1", settings.port)) == 0
    seen = f"{settings.port} is {'taken' if is_taken else 'free'}"
    return Finding(
        "UI port", not is_taken, seen, "stop what listens there (perhaps the UI runs already) or set COMMERCE_PORT" if is_taken else ""
    )


def _shop(settings: Settings) -> Iterator[Finding]:
    where = f"sandbox at {settings.storefront_url}" if settings.is_sandbox else settings.storefront_url
    has_credentials = settings.is_sandbox or bool(
        settings.shopify_access_token or settings.shopify_refresh_token or (settings.shopify_client_id and settings.shopify_client_secret)
    )
    advice = "" if has_credentials else "set SHOPIFY_ACCESS_TOKEN, or SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET"
    yield Finding("shop", has_credentials, where, advice)
    if has_credentials:
        yield from _reach(settings)


def _reach(settings: Settings) -> Iterator[Finding]:
    """Ask the shop who it is, which version answers and what we may do."""
    from commerce_assets.service.shop import open_client
    from commerce_assets.sources.shopify.client import VersionPolicy, missing_scopes, state_of_shop
    from commerce_assets.sources.shopify.errors import ShopifyError

    try:
        with open_client(settings) as client:
            client.version_policy = VersionPolicy(older="warn")  # doctor reports it below
            state = state_of_shop(client)
    except ShopifyError as error:
        advice = (
            "`commerce sandbox serve` starts it (`make run` does so itself)"
            if settings.is_sandbox
            else "see the message; credentials are in .env"
        )
        yield Finding("reachable", False, str(error).splitlines()[0], advice)
        return
    yield Finding("reachable", True, f"{state.name} ({state.domain}, {state.currency_code}, {state.timezone})")
    is_same = state.version_answered == settings.shopify_api_version
    advice = (
        "" if is_same else f"{settings.shopify_api_version} is not supported by the shop: set SHOPIFY_API_VERSION to a supported version"
    )
    yield Finding("API version", is_same, f"asked {settings.shopify_api_version}, answered {state.version_answered}", advice)
    missing = missing_scopes(state.scopes, (*REQUIRED_SCOPES, *_scopes_of_syncs(settings), *(STOCK_SCOPES if settings.wms_secret else ())))
    yield Finding("scopes", not missing, ", ".join(sorted(state.scopes)), f"grant the app: {', '.join(missing)}" if missing else "")
    if missing_scopes(state.scopes, ("read_all_orders",)):
        yield Finding("order history", True, "last 60 days only", "request read_all_orders from Shopify for older orders")
    yield _subscriptions(settings)


def _subscriptions(settings: Settings) -> Finding:
    """Whether the shop tells of its events what is configured; a shop that is only pulled has none and is well."""
    from commerce_assets.service.subscribing import SubscriptionSettingsError, synchronise
    from commerce_assets.sources.shopify.errors import ShopifyError

    name = "webhooks"
    try:
        diff = synchronise(settings, dry_run=True)
    except SubscriptionSettingsError as error:
        return Finding(name, True, "not configured: what changes arrives with the next pull", str(error))
    except ShopifyError as error:
        return Finding(name, False, str(error).splitlines()[0], "grant the app what the message names")
    if not settings.webhook_secrets:
        return Finding(name, False, "no secret signs the deliveries", "set SHOPIFY_WEBHOOK_SECRET or SHOPIFY_CLIENT_SECRET")
    is_any = bool(diff.unchanged or diff.update or diff.delete)
    advice = "" if diff.is_empty else "`commerce webhooks sync` subscribes them (`commerce serve` takes them)"
    return Finding(name, diff.is_empty or not is_any, diff.summary, advice)
