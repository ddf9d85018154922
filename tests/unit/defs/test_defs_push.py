"""The push refuses stale or missing scores."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from commerce_assets.defs.activation.customer_scores import refuse_stale_scores
from commerce_assets.defs.resources import LakeFolder

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MAX_AGE = timedelta(hours=26)


def lake_scored(root: Path, *moments: datetime) -> LakeFolder:
    folder = LakeFolder(root=str(root), max_reject_rate=0.05)
    if moments:
        folder.open().write_scores("customer_rfm", pl.DataFrame({"scored_at": list(moments)}))
    return folder


def test_fresh_scores_may_be_pushed(tmp_path: Path) -> None:
    refuse_stale_scores(lake_scored(tmp_path, NOW - MAX_AGE), NOW, MAX_AGE)


def test_stale_scores_are_refused_with_their_age_and_without_a_retry(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match=r"30\.0 h old, more than the 26 h allowed") as raised:
        refuse_stale_scores(lake_scored(tmp_path, NOW - timedelta(hours=30), NOW - timedelta(hours=40)), NOW, MAX_AGE)
    assert not raised.value.allow_retries


def test_no_scores_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="there are no scores yet"):
        refuse_stale_scores(lake_scored(tmp_path), NOW, MAX_AGE)
