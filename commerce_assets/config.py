"""Every setting, typed, in one place, read from the environment or `.env`. Knows nobody.

Secrets are `SecretStr`: they print as stars, and nothing here writes them anywhere.
"""

from datetime import date
from functools import lru_cache
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SANDBOX_URL = "http://127.0.0.1:8810"
SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but the embedded store on loopback


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that says which and what to do."""


class Settings(BaseSettings):
    """All settings. Environment names: `COMMERCE_<FIELD>`, and Shopify's own as `SHOPIFY_<…>`."""

    model_config = SettingsConfigDict(env_prefix="COMMERCE_", env_file=".env", extra="ignore", populate_by_name=True)

    data_root: Path = Field(PROJECT_ROOT / "data" / "run", description="Root of everything made at run time.")
    database_url: str | None = Field(None, description="Operational store (ledger, inbox); default SQLite under the data root.")
    dagster_home: Path | None = Field(
        None,
        validation_alias=AliasChoices("dagster_home", "DAGSTER_HOME"),
        description="Dagster's own storage; default under the data root.",
    )
    port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster UI.")

    shopify_shop: str | None = Field(
        None,
        validation_alias=AliasChoices("shopify_shop", "SHOPIFY_SHOP"),
        description="<shop>.myshopify.com; unset means the embedded sandbox store.",
    )
    shopify_url: str | None = Field(
        None,
        validation_alias=AliasChoices("shopify_url", "SHOPIFY_URL"),
        description="Base URL when it is not https://<shop>; tests and the sandbox use it.",
    )
    shopify_api_version: str = Field(
        "2026-10", pattern=r"^\d{4}-\d{2}$", validation_alias=AliasChoices("shopify_api_version", "SHOPIFY_API_VERSION")
    )
    shopify_access_token: SecretStr | None = Field(None, validation_alias=AliasChoices("shopify_access_token", "SHOPIFY_ACCESS_TOKEN"))
    shopify_client_id: str | None = Field(None, validation_alias=AliasChoices("shopify_client_id", "SHOPIFY_CLIENT_ID"))
    shopify_client_secret: SecretStr | None = Field(None, validation_alias=AliasChoices("shopify_client_secret", "SHOPIFY_CLIENT_SECRET"))
    shopify_refresh_token: SecretStr | None = Field(None, validation_alias=AliasChoices("shopify_refresh_token", "SHOPIFY_REFRESH_TOKEN"))

    orders_start_on: date = Field(date(2024, 11, 1), description="First day of the orders partitions (UTC).")
    quarantine_max_rate: float = Field(
        0.05, ge=0, le=1, description="Share of rejected rows above which a load fails and keeps what was there."
    )
    lapsed_after_days: int = Field(90, gt=0, description="Days without an order after which a customer has lapsed.")
    scores_max_age_hours: int = Field(26, gt=0, description="A push refuses scores older than this.")
    bulk_push_threshold: int = Field(250, gt=0, description="Customers to write above which the push uses a bulk mutation.")
    published_versions_kept: int = Field(3, ge=1, description="Published warehouse files kept for rollback.")

    @property
    def is_sandbox(self) -> bool:
        return self.shopify_shop is None

    @property
    def storefront_url(self) -> str:
        """Base URL of the Admin API's host, without a trailing slash."""
        if self.shopify_url:
            return self.shopify_url.rstrip("/")
        return f"https://{self.shopify_shop}" if self.shopify_shop else SANDBOX_URL

    @property
    def lake_root(self) -> Path:
        return self.data_root / "lake"

    @property
    def warehouse_root(self) -> Path:
        return self.data_root / "warehouse"

    @property
    def build_path(self) -> Path:
        """The DuckDB file that pipelines write; BI never opens it."""
        return self.warehouse_root / "build.duckdb"

    @property
    def published_path(self) -> Path:
        """The DuckDB file that BI opens read-only."""
        return self.warehouse_root / "commerce.duckdb"

    @property
    def restricted_path(self) -> Path:
        """The unmasked marts, for those who may."""
        return self.warehouse_root / "restricted" / "commerce_restricted.duckdb"

    @property
    def ops_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_root / 'ops.sqlite'}"

    @property
    def dagster_home_path(self) -> Path:
        return self.dagster_home or self.data_root / "dagster_home"


def load_settings() -> Settings:
    """Read the settings anew; `SettingsError` with one line a wrong setting."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False)]
        raise SettingsError("bad setting: " + "; ".join(lines) + " (see README, Settings)") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
