"""A disk that fills up under the receiver: senders are told to try again, nothing taken is lost, and it goes on by itself."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from receiver_client import CLIENT, RULES, RunningReceiver, running_receiver

from commerce_assets.events.inbox import Inbox
from commerce_assets.events.receiver import ReceiverOptions

pytestmark = pytest.mark.xdist_group("events-receiver")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root); unit/events covers a database that is full")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_answered_503_and_heals_by_itself(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    path = small_disk / "inbox.sqlite"
    with Inbox(f"sqlite:///{path}") as inbox, running_receiver(inbox, ReceiverOptions(RULES)) as receiver:
        taken = deliver(receiver, range(200))
        refused = receiver.deliver(b"x" * 20_000, webhook_id="once more")
        assert (refused.status_code, refused.headers["retry-after"], refused.json()["status"]) == (503, "5", "inbox_full")
        assert 0 < len(taken) < 200
        assert CLIENT.get(f"{receiver.url}/readyz").status_code == 503
        assert CLIENT.get(f"{receiver.url}/healthz").status_code == 200
        assert taken <= {one.delivery.webhook_id for one in inbox.read(0, 1000)}
        ballast.unlink()
        again = deliver(receiver, range(len(taken), len(taken) + 20))
        assert len(again) == 20
        assert CLIENT.get(f"{receiver.url}/readyz").status_code == 200
        assert taken | again <= {one.delivery.webhook_id for one in inbox.read(0, 1000)}
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def deliver(receiver: RunningReceiver, numbers: range) -> set[str]:
    """Deliver side by side; the webhook ids that were answered 200. All else must be 503."""

    def one(number: int) -> tuple[str, int]:
        return str(number), receiver.deliver(b"x" * 20_000, webhook_id=str(number)).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = dict(pool.map(one, numbers))
    assert set(statuses.values()) <= {200, 503}
    return {webhook_id for webhook_id, status in statuses.items() if status == 200}
