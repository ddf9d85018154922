"""The ledger on PostgreSQL: the same push, the same tables, and one push at a time. Starts a server of its own where one is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from activation_fakes import FakeShop
from support import free_port

from commerce_assets.activation.customer_scores import SYNC, push_customer_scores
from commerce_assets.activation.errors import SyncBusyError
from commerce_assets.activation.ledger import Ledger, ledger_frames


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (extra `postgres`)")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(path) for path in [shutil.which("initdb")] if path]
    if not found:
        pytest.skip("no PostgreSQL server is installed (initdb not found)")
    binaries, folder = found[-1].parent, tmp_path_factory.mktemp("postgres")
    # The server refuses to run as root: its own user does, where there is one.
    as_user: list[str] = []
    if os.geteuid() == 0:
        if subprocess.run(["id", "postgres"], capture_output=True).returncode != 0 or shutil.which("runuser") is None:
            pytest.skip("running as root, and there is no user `postgres` to run a server as")
        as_user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, *folder.parents[:3]):  # under xdist the folder lies one deeper
            path.chmod(path.stat().st_mode | 0o755)
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    subprocess.run(
        [*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "commerce", "-A", "trust"], check=True, capture_output=True, cwd="/"
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-l", str(folder / "log")]
    subprocess.run([*control, "-w", "-o", options, "start"], check=True, capture_output=True, cwd="/")
    try:
        yield f"postgresql+psycopg2://commerce@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd="/")


def scores(*, lapsed: frozenset[int] = frozenset()) -> pl.DataFrame:
    numbers = list(range(1, 301))
    lifecycles = ["lapsed" if number in lapsed else "active" for number in numbers]
    return pl.DataFrame(
        {
            "customer_gid": [f"gid://shopify/Customer/{number}" for number in numbers],
            "rfm_segment": "loyal",
            "lifecycle": lifecycles,
            "is_vip": False,
            "monetary_value_amount": pl.Series([100] * 300).cast(pl.Decimal(18, 4)),
            "as_of_on": pl.Series(["2026-11-21"] * 300).str.to_date(),
            "lifecycle_tags": [[f"lifecycle:{lifecycle}"] for lifecycle in lifecycles],
        }
    )


def test_push_change_and_repeat(postgres_url: str) -> None:
    shop = FakeShop(f"gid://shopify/Customer/{number}" for number in range(1, 301))
    first = push_customer_scores(scores(), shop, postgres_url)
    assert (first.creates, first.succeeded) == (300, 300)
    second = push_customer_scores(scores(lapsed=frozenset({5, 7})), shop, postgres_url)
    assert (second.updates, second.succeeded, second.unchanged) == (2, 2, 298)
    mutations = shop.mutations
    assert push_customer_scores(scores(lapsed=frozenset({5, 7})), shop, postgres_url).planned == 0
    assert shop.mutations == mutations
    frames = ledger_frames(postgres_url)
    assert frames["activation_runs"]["succeeded_count"].to_list() == [300, 2, 0]
    assert frames["activation_changes"]["outcome"].unique().to_list() == ["succeeded"]
    assert frames["activation_changes"].schema["resolved_at"] == pl.Datetime("us", "UTC")


def test_one_push_at_a_time(postgres_url: str) -> None:
    with (
        Ledger(postgres_url) as one,
        Ledger(postgres_url) as other,
        one.exclusive(SYNC),
        pytest.raises(SyncBusyError),
        other.exclusive(SYNC),
    ):
        raise AssertionError("both hold the sync")
    with Ledger(postgres_url) as other, other.exclusive(SYNC):
        pass
