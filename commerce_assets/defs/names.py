"""What things are called in the graph: layers, owners, tiers, domains, and the document families of the storefront."""

from dataclasses import dataclass

TIERS = {1: "critical", 2: "growth", 3: "fiscal", 4: "catalogue"}
"""1 inventory, orders, returns; 2 customers, marketing; 3 money and books; 4 catalogue and slow reference data."""

WAREHOUSE_POOL = "duckdb_warehouse"
"""One writer at a time: every op that opens the build file for writing or publishes it is in this pool (limit 1)."""

DATA_PLATFORM = "team:data-platform"
ANALYTICS = "team:analytics"
CRM = "team:crm"


@dataclass(frozen=True)
class Family:
    """A document family of the storefront: one asset `storefront/<name>` with its tables."""

    name: str
    tier: int
    domain: str
    has_pii: bool
    owner: str
    description: str


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "orders",
            1,
            "orders",
            True,
            DATA_PLATFORM,
            "Orders with their lines, discounts, taxes, shipping, transactions, refunds and fulfillments, by UTC day of `updated_at`. "
            "A partition replaces its day; a range of days is one bulk operation.",
        ),
        Family(
            "customers",
            2,
            "customers",
            True,
            DATA_PLATFORM,
            "Customers with addresses, marketing consents and metafields; those changed since the last pull are merged over what is there.",
        ),
        Family(
            "products",
            4,
            "catalogue",
            False,
            DATA_PLATFORM,
            "Products with variants, media and metafields; those changed since the last pull are merged over what is there.",
        ),
        Family(
            "inventory",
            1,
            "inventory",
            False,
            DATA_PLATFORM,
            "Stock by item and location as it stood when the snapshot was taken; one snapshot a UTC day, that of today refreshed.",
        ),
        Family("locations", 4, "inventory", False, DATA_PLATFORM, "Warehouses, shops and fulfilment services that hold stock."),
        Family(
            "ids",
            4,
            "deletions",
            False,
            DATA_PLATFORM,
            "Every id of orders, customers and products that the storefront still holds: what is in the lake and not here was deleted.",
        ),
        Family(
            "deletions",
            4,
            "deletions",
            False,
            DATA_PLATFORM,
            "Deletions of orders, customers and products that events told of, within seconds. The events worker lands them; a run only "
            "folds its micro-batches and counts.",
        ),
    )
}


def tags(tier: int, domain: str, has_pii: bool) -> dict[str, str]:
    """The tags every asset carries."""
    return {"tier": str(tier), "domain": domain, "pii": "true" if has_pii else "false"}


_BY_WORD: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("inventory", "location"), 1, "inventory"),
    (("transaction", "tax", "daily_sales", "date"), 3, "finance"),
    (("order", "refund", "fulfillment", "shipping", "discount"), 1, "orders"),
    (("customer",), 2, "customers"),
    (("product", "variant"), 4, "catalogue"),
)


def tier_and_domain(model: str) -> tuple[int, str]:
    """Tier and domain of a dbt model by what it is about; a model may say otherwise in its yml (`meta: {tier: 2, domain: marketing}`)."""
    if model.endswith("_ids"):
        return 4, "deletions"
    for words, tier, domain in _BY_WORD:
        if any(word in model for word in words):
            return tier, domain
    return 4, "reference"
