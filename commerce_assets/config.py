"""Every setting, typed, in one place, read from the environment or `.env`. Knows nobody.

Secrets are `SecretStr`: they print as stars, and nothing here writes them anywhere.
"""

from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SANDBOX_URL = "http://127.0.0.1:8810"
SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but the embedded store on loopback
SANDBOX_WEBHOOK_SECRET = "sandbox-webhook-secret"  # noqa: S105 - signs nothing but the embedded store's deliveries
SANDBOX_SHOP = "sandbox-store.myshopify.com"


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
    scores: str | None = Field(None, description="Scores to make, joined by commas; default all (`commerce score status` lists them).")
    scores_max_age_hours: int = Field(26, gt=0, description="A push refuses scores older than this.")
    scores_max_input_age_hours: int = Field(26, gt=0, description="A score is refused when what it reads was last complete longer ago.")
    scores_max_drift: float = Field(
        0.5, gt=0, description="Relative change of a score's monitored figures since the last accepted run above which it is refused."
    )
    value_horizon_days: int = Field(365, ge=7, description="How far customers' value is predicted.")
    value_discount_rate: float = Field(0.1, ge=0, lt=1, description="Yearly rate at which predicted value is discounted.")
    lead_time_days: float = Field(14, gt=0, description="Days from a purchase order to goods on the shelf.")
    service_level: float = Field(0.95, gt=0.5, lt=1, description="Probability not to run out before the next delivery.")
    replenishment_policies: Path | None = Field(
        None, description="CSV of lead times, service levels, packs and minimum orders by SKU; what it does not say, the defaults do."
    )
    calendar_events: Path | None = Field(
        None, description="CSV of the shop's own days (name, from_on, to_on): holidays, sales, closures, which daily anomalies then expect."
    )
    chargeback_tags: str = Field("chargeback", description="Order tags, joined by commas, that say an order was charged back.")
    review_capacity_rate: float = Field(0.02, gt=0, le=1, description="Share of orders that people can review for risk.")
    bulk_push_threshold: int | None = Field(
        None, gt=0, description="Records to write above which a push to Shopify uses bulk mutations; default: whatever costs less."
    )
    syncs_root: Path = Field(
        PROJECT_ROOT / "commerce_assets" / "defs" / "activation", description="Folder below which syncs are declared, a defs.yaml each."
    )
    alert_url: SecretStr | None = Field(
        None, description='Where a shut gate is told, as JSON {"text": …}: an incoming webhook of Slack, Teams or Mattermost.'
    )
    undo_days: int = Field(30, ge=0, description="Days for which a push can be undone: what customers held before is kept so long.")
    published_versions_kept: int = Field(3, ge=1, description="Published warehouse files kept for rollback.")

    events_host: str = Field("127.0.0.1", description="Address that `commerce serve` listens on.")
    events_port: int = Field(8820, ge=1, le=65535, description="Port of `commerce serve`.")
    inbox_url: str | None = Field(
        None, description="Event inbox; default the operational store if that is set, else a SQLite file of its own."
    )
    events_url: str | None = Field(None, description="The worker's books; default as the inbox, in another SQLite file.")
    webhook_address: str | None = Field(
        None, description="https address under which the shop reaches `commerce serve`; `commerce webhooks sync` subscribes it."
    )
    webhook_secret: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("webhook_secret", "SHOPIFY_WEBHOOK_SECRET"),
        description="Signs deliveries; default SHOPIFY_CLIENT_SECRET.",
    )
    webhook_previous_secret: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("webhook_previous_secret", "SHOPIFY_WEBHOOK_PREVIOUS_SECRET"),
        description="Still accepted after a rotation (Shopify signs with it for up to an hour).",
    )
    webhook_topics: str | None = Field(None, description="Topics to subscribe to, joined by commas; default all that have a meaning here.")
    webhook_body_limit: int = Field(8_000_000, gt=0, description="Bytes above which a delivery is refused with 413.")
    inbox_backlog_limit: int = Field(2_000_000, gt=0, description="Events not yet worked above which the receiver answers 503.")
    event_attempts: int = Field(5, ge=1, description="Tries before an event becomes a dead letter.")
    event_batch_rows: int = Field(2_000, ge=1, description="Events of a lane that are worked as one micro-batch, at most.")
    events_keep_days: int = Field(60, ge=1, description="Days for which worked events and what became of them are kept.")
    reconcile_minutes: int = Field(15, ge=1, description="How often the worker asks the shop what changed without an event.")
    reconcile_grace_seconds: float = Field(60, ge=0, description="What changed later than this is given time to come as an event.")
    sqs_queue_url: str | None = Field(None, description="Amazon SQS queue fed by EventBridge; another way into the inbox.")
    sqs_endpoint_url: str | None = Field(None, description="SQS address when it is not Amazon's own.")
    kafka_brokers: str | None = Field(None, description="Kafka bootstrap servers; another way into the inbox.")
    kafka_topic: str = Field("shopify-webhooks", description="Kafka topic to read.")
    kafka_group: str = Field("commerce-assets", description="Kafka consumer group.")
    events_folder: Path | None = Field(None, description="Folder whose *.jsonl files are taken into the inbox.")

    wms_secret: SecretStr | None = Field(None, description="Signs `POST /inventory/wms`; unset means the route refuses everything.")
    inventory_owner: Literal["wms", "storefront"] = Field("wms", description="Whose number of units on hand holds.")
    inventory_drift_policy: Literal["correct", "report"] = Field(
        "correct", description="What to do about others' changes of stock on the storefront."
    )
    inventory_safety_stock: int = Field(0, ge=0, description="Units held back of every SKU and location, unless set for it.")

    @property
    def chargeback_tag_list(self) -> tuple[str, ...]:
        return tuple(tag for part in self.chargeback_tags.split(",") if (tag := part.strip().lower()))

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
    def inbox_database(self) -> str:
        """URL of the event inbox: written by the receiver, read by the worker."""
        return self.inbox_url or self.database_url or f"sqlite:///{self.data_root / 'inbox.sqlite'}"

    @property
    def events_database(self) -> str:
        """URL of the worker's books; a file of its own, so that the worker never waits for the receiver's lock."""
        return self.events_url or self.database_url or f"sqlite:///{self.data_root / 'events.sqlite'}"

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets that may have signed a delivery, the current one first; none when nothing is configured."""
        current = self.webhook_secret or self.shopify_client_secret
        if current is None and self.is_sandbox:
            return (SANDBOX_WEBHOOK_SECRET,)
        return tuple(secret.get_secret_value() for secret in (current, self.webhook_previous_secret) if secret)

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
