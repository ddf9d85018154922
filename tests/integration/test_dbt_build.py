"""The dbt project builds from a lake made of the contracts alone; incremental and full builds give identical tables."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from dbt_process import run_dbt
from integration.lake_fixture import (
    LOADED_AT,
    Store,
    conform,
    drop_partition,
    landed,
    make_store,
    swept,
    touch_orders,
    write_by_period,
    write_empty,
    write_lake,
    write_partition,
    write_scores,
)

from commerce_assets.contracts import TABLES, table
from commerce_assets.lake import Lake, fold_events

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = REPOSITORY / "dbt_project"
SCHEMAS = ("staging", "marts", "sync")
TODAY = date(2026, 12, 3)
WITHOUT_FIGURES = ("--exclude", "path:models/ops")
"""What a run without a selection leaves out: nothing here compares the platform's own figures, which the module's build builds once."""
BUILT = pytest.mark.xdist_group("dbt_built")  # one build serves these tests
Change = Callable[[Path, Store], None]


@dataclass(frozen=True)
class Warehouse:
    """A lake and the file that dbt builds from it.

    dbt finds every one of them at the same `place`, which leads to the one at hand, and so reads the project once a session: it takes
    seconds, and would be done again for every other path.
    """

    root: Path

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def place(self) -> Path:
        return self.root.parent / "dbt-place"

    def path(self, name: str = "build") -> Path:
        return self.root / f"{name}.duckdb"

    def dbt(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        self.place.unlink(missing_ok=True)
        self.place.symlink_to(self.root, target_is_directory=True)
        environment = {
            **os.environ,
            "COMMERCE_LAKE_ROOT": str(self.place / self.lake.name),
            "COMMERCE_BUILD_PATH": str(self.place / self.path().name),
            "DBT_LOG_PATH": str(self.root / "logs"),
        }
        command = [
            *arguments,
            *(WITHOUT_FIGURES if arguments[0] == "run" and "--select" not in arguments else ()),
            *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(self.root.parent / "dbt-target")),
        ]
        done = run_dbt(command, environment, self.root, timeout=240)
        if check and done.returncode != 0:
            raise AssertionError(f"dbt {' '.join(arguments)} exited {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
        return done

    def rows(self, sql: str, name: str = "build") -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.path(name)), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def one(self, sql: str, name: str = "build") -> tuple[object, ...]:
        (row,) = self.rows(sql, name)
        return row


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, Store]:
    """A small store, built in full with all tests; nobody writes to it."""
    warehouse, store = Warehouse(tmp_path_factory.mktemp("dbt")), make_store(1200)
    write_lake(warehouse.lake, store, compacted=True)
    for name, rows in _scores(store).items():
        write_scores(warehouse.lake, name, rows)
    warehouse.dbt("build", "--exclude-resource-type", "unit_test")
    return warehouse, store


def _scores(store: Store) -> dict[str, pl.DataFrame]:
    """Three customers, one variant that runs out, one product's lists: what models behind scores make of them."""
    customers, variants = store["customers"]["customer_id"].head(3), store["variants"].filter(pl.col("inventory_item_id").is_not_null())
    products = store["products"].filter(pl.col("status").str.to_lowercase() == "active")["product_id"].head(4).to_list()
    moments = {"as_of_on": [TODAY] * 3, "scored_at": [LOADED_AT] * 3}
    rfm = {
        "customer_id": customers,
        "recency_days": [3, 120, 400],
        "order_count": [5, 9, 1],
        "monetary_amount": ["120.50", "900.00", "10.00"],
        "currency_code": ["GBP"] * 3,
        "recency_score": [5, 2, 1],
        "frequency_score": [4, 5, 1],
        "monetary_score": [3, 5, 1],
        "rfm_segment": ["loyal", "cannot_lose", "lost"],
        "lifecycle": ["active", "lapsed", "lapsed"],
        "is_vip": [False, True, False],
        "is_high_value_lapsed": [False, True, False],
        **moments,
    }
    value = {
        "customer_id": customers,
        "currency_code": ["GBP"] * 3,
        "churn_rate": [0.2, 0.55, 0.9],
        "predicted_value_amount": ["80.00", "40.00", "1.00"],
        "vip_tier": ["silver", "platinum", "none"],
        **moments,
    }
    stock = {
        "variant_id": variants["variant_id"].head(2),
        "location_id": [1, 1],
        "available_count": [0, 900],
        "daily_units": [2.0, 0.5],
        "days_of_cover": [0.0, 1800.0],
        "suggested_order_count": [40, 0],
        "is_overstock": [False, True],
        "service_level": [0.95, 0.95],
        "has_lead_time": [False, False],
        "as_of_on": [TODAY] * 2,
        "scored_at": [LOADED_AT] * 2,
        "valid_until": [LOADED_AT + timedelta(hours=26)] * 2,
    }
    lists = {
        "product_id": [products[0]] * 4,
        "kind": ["related", "related", "related", "complementary"],
        "rank": [2, 1, 3, 1],
        "recommended_product_id": [products[1], products[2], products[0], products[3]],
        "as_of_on": [TODAY] * 4,
        "scored_at": [LOADED_AT] * 4,
    }
    tables = {"customer_rfm": rfm, "customer_value": value, "replenishment": stock, "product_recommendations": lists}
    return {name: pl.DataFrame(rows) for name, rows in tables.items()}


def _tables(warehouse: Warehouse, name: str = "build") -> list[str]:
    found = warehouse.rows(
        f"select table_schema || '.' || table_name from information_schema.tables where table_schema in {SCHEMAS} order by 1", name
    )
    return [str(row[0]) for row in found]


def _differences(warehouse: Warehouse, left: str, right: str) -> dict[str, int]:
    """Rows that are in one of two builds only, by table; columns and duplicates count."""
    assert _tables(warehouse, left) == _tables(warehouse, right)
    with duckdb.connect() as connection:
        connection.execute(f"attach '{warehouse.path(left)}' as l (read_only)")
        connection.execute(f"attach '{warehouse.path(right)}' as r (read_only)")
        differences = {}
        for name in _tables(warehouse, left):
            one_way = connection.execute(f"select count(*) from (from l.{name} except all from r.{name})").fetchone()
            other_way = connection.execute(f"select count(*) from (from r.{name} except all from l.{name})").fetchone()
            assert one_way is not None
            assert other_way is not None
            if one_way[0] + other_way[0]:
                differences[name] = one_way[0] + other_way[0]
        return differences


@BUILT
def test_every_table_of_the_lake_is_staged_whole(built: tuple[Warehouse, Store]) -> None:
    warehouse, store = built
    counts = {contract.name: warehouse.one(f"select count(*) from staging.stg_storefront__{contract.name}")[0] for contract in TABLES}
    assert counts == {contract.name: len(store[contract.name]) for contract in TABLES}


@BUILT
def test_daily_sales_add_up_to_the_orders_as_python_sums_them(built: tuple[Warehouse, Store]) -> None:
    warehouse, store = built
    counting = store["orders"].filter(~pl.col("is_test") & pl.col("cancelled_at").is_null())
    lines = store["order_lines"].join(counting.select("order_id", "is_taxes_included"), on="order_id").filter(~pl.col("is_gift_card"))
    included = pl.when("is_taxes_included").then("tax_amount").otherwise(0)
    returned = store["refund_lines"].join(lines.select("order_line_id"), on="order_line_id", how="semi")
    expected = (
        len(counting),
        lines.select((pl.col("gross_amount") - included).sum()).item(),
        lines["discount_amount"].sum(),
        returned["subtotal_amount"].sum(),
    )

    found = warehouse.one(
        "select sum(order_count), sum(gross_amount), sum(discount_amount), sum(returned_amount) from marts.agg_daily_sales"
    )

    assert found == expected


@BUILT
def test_a_refund_is_booked_on_the_day_it_happened(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    moved = warehouse.one(
        """
        select count(*) from marts.fct_refund as refund
        join staging.stg_storefront__refunds as staged using (refund_id)
        where refund.refunded_on <> cast(staged.processed_at as date) or refund.refunded_on = refund.ordered_on
        """
    )
    later = warehouse.one("select count(*) from marts.fct_refund where refunded_on > ordered_on")
    assert moved[0] < later[0]
    assert warehouse.one("select count(*) from marts.fct_refund where refunded_on <> cast(processed_at as date)") == (0,)


@BUILT
def test_the_sync_model_carries_the_lifecycle_tags(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    found = warehouse.rows(
        "select rfm_segment, lifecycle_tags, monetary_value_amount::varchar from sync.sync_shopify__customer_scores order by 1"
    )
    assert found == [
        ("cannot_lose", ["lifecycle:lapsed", "lifecycle:vip", "winback:high-value-lapsed"], "900.0000"),
        ("lost", ["lifecycle:lapsed"], "10.0000"),
        ("loyal", ["lifecycle:active"], "120.5000"),
    ]


@BUILT
def test_the_chance_of_churn_is_pushed_as_a_band(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    found = warehouse.rows(
        "select rfm_segment, churn_risk, vip_tier, predicted_value_amount::varchar from sync.sync_shopify__customer_scores order by 1"
    )
    assert found == [
        ("cannot_lose", "medium", "platinum", "40.0000"),
        ("lost", "high", "none", "1.0000"),
        ("loyal", "low", "silver", "80.0000"),
    ]


@BUILT
def test_inventory_health_says_what_ran_out_and_what_lies_too_long(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    found = warehouse.rows("select stock_status, suggested_order_count, product_id is not null from marts.inventory_health order by 1")
    assert found == [("out_of_stock", 40, True), ("overstock", 0, True)]


@BUILT
def test_lists_hold_sellable_products_in_their_order_and_never_the_product_itself(built: tuple[Warehouse, Store]) -> None:
    warehouse, store = built
    (found,) = warehouse.rows(
        "select product_id, related_product_gids, complementary_product_gids from sync.sync_shopify__product_recommendations"
    )
    sellable = {
        number
        for (number,) in warehouse.rows(
            "select product_id from marts.dim_variant where product_status = 'active' and not is_deleted and not is_gift_card "
            "and (not is_tracked or inventory_policy = 'continue' or inventory_quantity > 0)"
        )
    }
    lists = _scores(store)["product_recommendations"].sort("kind", "rank")
    for kind, gids in (("related", found[1]), ("complementary", found[2])):
        wanted = lists.filter(pl.col("kind") == kind)["recommended_product_id"].to_list()
        assert gids == [f"gid://shopify/Product/{number}" for number in wanted if number in sellable and number != found[0]]
    assert found[1] or found[2]


@BUILT
def test_every_mart_row_leads_back_to_its_raw_line(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    lost = warehouse.one("select count(*) from marts.fct_order_line where _source_file is null or _line < 1 or _loaded_at is null")
    assert lost == (0,)


def _newer_versions(lake: Path, store: Store) -> None:
    touch_orders(lake, store, 0.05, TODAY, LOADED_AT + timedelta(hours=2))


def _fall_back(lake: Path, store: Store) -> None:
    """A day is loaded again and does not hold the newer versions any more: the older ones hold again."""
    drop_partition(lake, "orders", f"{TODAY:%Y-%m-%d}")


def _orders_gone(lake: Path, store: Store) -> None:
    """A whole month is loaded again and comes back empty."""
    drop_partition(lake, "orders", "2025-03")


def _sweep(lake: Path, store: Store) -> None:
    """A sweep misses some orders, customers and products: they were deleted."""
    gone = {
        "order": {int(store["orders"]["order_id"][5]), int(store["orders"]["order_id"][500])},
        "customer": {int(store["customers"]["customer_id"][0])},
        "product": {int(store["products"]["product_id"][0])},
    }
    write_partition(lake, "swept_ids", "all", _landed_sweep(store, gone, LOADED_AT + timedelta(days=1)))


def _landed_sweep(store: Store, gone: dict[str, set[int]], at: datetime) -> pl.DataFrame:
    ids = swept(store.frames, gone, at)
    return landed(Store({"swept_ids": ids}, store.seed), "swept_ids", at, "storefront/ids/sweep/part-00000.jsonl")


def _late_commit(lake: Path, store: Store) -> None:
    """A load that began before the others, and so carries an older `_loaded_at`, becomes visible only now."""
    touch_orders(lake, store, 0.03, date(2026, 12, 4), LOADED_AT - timedelta(hours=5), seed=5)


def _replayed_lines(lake: Path, store: Store) -> None:
    """Lines that stood in quarantine are accepted after a fix, younger than the document they belong to."""
    rows = pl.read_parquet(lake / "raw/storefront/order_lines/partition=2025-06/data.parquet")
    replayed = rows.head(4).with_columns(
        (pl.col("order_line_id") + 900_000_000), (pl.col("_loaded_at") + timedelta(hours=9)), pl.lit("replay.jsonl").alias("_source_file")
    )
    replayed.write_parquet(lake / "raw/storefront/order_lines/partition=2025-06/replay.parquet")


def _next_snapshot(lake: Path, store: Store) -> None:
    """Stock is counted on the next day, and counted again on the day before."""
    for day, hours in ((LOADED_AT, 3), (LOADED_AT + timedelta(days=1), 24)):
        for name in ("inventory_items", "inventory_levels"):
            rows = landed(store, name, LOADED_AT + timedelta(hours=hours), "storefront/inventory/next/part-00000.jsonl")
            if name == "inventory_levels":
                rows = rows.with_columns(pl.col("available_quantity") - hours)
            write_partition(lake, name, f"{day:%Y-%m-%d}", rows)


def _compacted(lake: Path, store: Store) -> None:
    """A month's file and its days' files hold the same rows: they lie elsewhere now."""
    for contract in TABLES:
        month = lake / "raw" / contract.source / contract.name / "partition=2025-09" / "data.parquet"
        if contract.family == "orders" and month.exists():
            write_by_period(lake, contract.name, pl.read_parquet(month), "%Y-%m-%d")
            month.unlink()


def _children_removed(lake: Path, store: Store) -> None:
    """A newer version of orders without a single refund, shipment or tax line."""
    chosen = store["refunds"]["order_id"].head(5)
    noon = datetime(2026, 12, 5, 12, tzinfo=UTC)
    orders = (
        store["orders"]
        .filter(pl.col("order_id").is_in(chosen.implode()))
        .with_columns(pl.lit(noon).cast(pl.Datetime("us", "UTC")).alias("updated_at"))
    )
    lines = store["order_lines"].filter(pl.col("order_id").is_in(chosen.implode()))
    state = Store({"orders": orders, "order_lines": lines}, store.seed)
    for name in ("orders", "order_lines"):
        write_partition(lake, name, "2026-12-05", landed(state, name, noon, "storefront/orders/2026-12-05/part-00000.jsonl"))


def _nothing_left(lake: Path, store: Store) -> None:
    """Every table is down to its typed empty file."""
    shutil.rmtree(lake / "raw")
    write_empty(lake)


FIRST_BATCH = "events-20261203T060000000000-orders"
TOLD_AT = LOADED_AT + timedelta(days=1, hours=1)
SECOND_BATCH = "events-20261203T070000000000-orders"


def _event_batch(lake: Path, store: Store) -> None:
    """A micro-batch of orders, some in the version that a pull brought too, with other children."""
    touch_orders(lake, store, 0.05, TODAY, LOADED_AT + timedelta(hours=3), seed=11, partition=FIRST_BATCH)


def _next_batch_and_fold(lake: Path, store: Store) -> None:
    """Another micro-batch, which no build saw before it was folded with the first."""
    touch_orders(lake, store, 0.03, TODAY + timedelta(days=1), LOADED_AT + timedelta(hours=4), seed=12, partition=SECOND_BATCH)
    folded = fold_events(Lake(lake), "orders")
    assert folded is not None
    assert folded.partitions == (FIRST_BATCH, SECOND_BATCH)


def _pull_after_events(lake: Path, store: Store) -> None:
    """A pull brings what events brought, and more."""
    touch_orders(lake, store, 0.05, TODAY, LOADED_AT + timedelta(hours=8), seed=11)


def _batch_landed_again(lake: Path, store: Store) -> None:
    """The second batch is landed again, out of the folded partition, with fewer orders; and stock in a batch that was read anew."""
    for contract in TABLES:
        place = lake / "raw/storefront" / contract.name / f"partition={SECOND_BATCH}" / "folded.parquet"
        if not place.exists():
            continue
        rows = pl.read_parquet(place)
        mine = pl.col("_source_file").str.contains(SECOND_BATCH)
        place.unlink()
        rows.filter(~mine).write_parquet(place)
        write_partition(lake, contract.name, SECOND_BATCH, rows.filter(mine, pl.col("order_id") % 3 > 0))
    for place in (lake / "raw/storefront/inventory_levels").glob("partition=events-*/data.parquet"):
        pl.read_parquet(place).with_columns(pl.col("available_quantity") - 3).write_parquet(place)


def _deletions_told(lake: Path, store: Store) -> None:
    """Events tell of deletions; one of them is older than the version that the lake holds."""
    objects = {
        "object_type": ["order", "order", "customer", "product"],
        "object_id": [
            store["orders"]["order_id"][7],
            store["orders"]["order_id"][8],
            store["customers"]["customer_id"][1],
            store["products"]["product_id"][1],
        ],
        "deleted_at": [TOLD_AT, datetime(2024, 1, 1, tzinfo=UTC), TOLD_AT, TOLD_AT],
    }
    state = Store({"deleted_ids": conform("deleted_ids", objects, 4)}, store.seed)
    rows = landed(state, "deleted_ids", TOLD_AT, f"storefront/deletions/{FIRST_BATCH}/part-00000.jsonl")
    write_partition(lake, "deleted_ids", FIRST_BATCH, rows)


def _deletions_unsaid(lake: Path, store: Store) -> None:
    drop_partition(lake, "deletions", FIRST_BATCH)


def _events_of_stock(lake: Path, store: Store) -> None:
    """Events count a few items again: after the day's pull, and before the next day's, which will be the first of that day."""
    for hours in (1, 22):
        moment = LOADED_AT + timedelta(hours=hours)
        items = store["inventory_items"].head(6 + hours % 5)
        levels = store["inventory_levels"].join(items.select("inventory_item_id"), on="inventory_item_id", how="semi")
        levels = levels.with_columns(pl.col("available_quantity") - 7).gather_every(2)
        state = Store({"inventory_items": items, "inventory_levels": levels}, store.seed)
        for name in ("inventory_items", "inventory_levels"):
            partition = f"events-{moment:%Y%m%dT%H%M%S%f}-inventory"
            write_partition(lake, name, partition, landed(state, name, moment, f"storefront/inventory/{partition}/part-00000.jsonl"))


# Several changes a build, because a build takes seconds; each touches orders of its own.
STEPS: list[list[Change]] = [
    [_newer_versions, _sweep, _replayed_lines, _event_batch, _events_of_stock, _deletions_told],
    [_fall_back, _late_commit, _next_snapshot, _compacted, _next_batch_and_fold],
    [_children_removed, _orders_gone, _pull_after_events, _batch_landed_again, _deletions_unsaid],
    [_nothing_left],
]


@pytest.mark.slow
@pytest.mark.xdist_group("dbt_incremental")
def test_incremental_and_full_builds_are_identical_whatever_happened_to_the_lake(tmp_path: Path) -> None:
    warehouse, store = Warehouse(tmp_path), make_store(1200)
    write_lake(warehouse.lake, store, compacted=True)
    warehouse.dbt("run")
    for changes in STEPS:
        for change in changes:
            change(warehouse.lake, store)
        warehouse.dbt("run")
        warehouse.path().rename(warehouse.path("incremental"))
        warehouse.dbt("run")
        assert _differences(warehouse, "incremental", "build") == {}, [change.__name__ for change in changes]
        warehouse.path("incremental").replace(warehouse.path())


@pytest.mark.slow
@pytest.mark.xdist_group("dbt_incremental")
def test_a_build_that_ended_between_two_models_is_made_good_by_the_next(tmp_path: Path) -> None:
    """Each step leaves some models at the new orders and others at the old; the queue serves each from where it stands."""
    warehouse, store = Warehouse(tmp_path), make_store(1200)
    write_lake(warehouse.lake, store, compacted=True)
    warehouse.dbt("run")
    _newer_versions(warehouse.lake, store)
    warehouse.dbt("run", "--select", "+int_orders__states")
    warehouse.dbt("run", "--select", "customer_360")  # takes nothing that its facts did not take
    _late_commit(warehouse.lake, store)
    warehouse.dbt("run", "--select", "+fct_order_line")
    warehouse.dbt("run", "--select", "customer_360")
    warehouse.dbt("run")
    warehouse.path().rename(warehouse.path("healed"))
    warehouse.dbt("run")
    assert _differences(warehouse, "healed", "build") == {}


@pytest.mark.slow
@pytest.mark.xdist_group("dbt_incremental")
def test_a_file_of_an_older_version_is_built_in_full(tmp_path: Path) -> None:
    warehouse, store = Warehouse(tmp_path), make_store(60)
    write_lake(warehouse.lake, store, compacted=True)
    warehouse.dbt("run")
    shutil.copy(warehouse.path(), warehouse.path("first"))
    for older in (
        "drop schema bookkeeping cascade",
        "drop table bookkeeping.versions; drop table bookkeeping.stg_storefront__refunds__seen",
        "update bookkeeping.versions set version = 'older'; alter table marts.fct_order drop column tags",
    ):
        with duckdb.connect(str(warehouse.path())) as connection:
            connection.execute(older)
            connection.execute("update marts.fct_order set total_amount = -1; update marts.customer_360 set order_count = -1")
        done = warehouse.dbt("run")
        assert "was built by another version of the project" in done.stdout, older
        assert _differences(warehouse, "first", "build") == {}, older
    assert "another version" not in warehouse.dbt("run").stdout


@BUILT
def test_a_second_build_and_a_full_refresh_of_an_unchanged_lake_change_nothing(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    shutil.copy(warehouse.path(), warehouse.path("first"))
    warehouse.dbt("run")
    assert _differences(warehouse, "first", "build") == {}
    warehouse.dbt("run", "--full-refresh")
    assert _differences(warehouse, "first", "build") == {}


@BUILT
def test_unit_tests_of_money_refunds_and_cohorts_pass(built: tuple[Warehouse, Store]) -> None:
    warehouse, _ = built
    done = warehouse.dbt("test", "--select", "test_type:unit")
    assert "ERROR=0" in done.stdout


@pytest.mark.slow
def test_two_versions_of_the_same_line_in_one_document_fail_the_uniqueness_test(tmp_path: Path) -> None:
    warehouse, store = Warehouse(tmp_path), make_store(60)
    write_lake(warehouse.lake, store, compacted=True)
    folder = next(path for path in (warehouse.lake / "raw/storefront/order_lines").glob("partition=2025*"))
    pl.read_parquet(folder / "data.parquet").head(1).write_parquet(folder / "again.parquet")
    done = warehouse.dbt("build", "--select", "+stg_storefront__order_lines", check=False)
    assert done.returncode == 1
    assert "unique_stg_storefront__order_lines_order_line_id" in done.stdout


def test_the_fixture_conforms_to_the_contracts() -> None:
    for name, rows in make_store(60).frames.items():
        table(name).model.validate(rows)
