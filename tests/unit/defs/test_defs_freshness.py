"""Freshness follows the tier, from one map."""

from datetime import timedelta

import dagster as dg
import pytest

from commerce_assets.defs.freshness import WINDOWS, policy, with_freshness
from commerce_assets.defs.names import TIERS


def asset(name: str, **options: object) -> dg.AssetsDefinition:
    @dg.asset(name=name, **options)  # type: ignore[call-overload]
    def made() -> None: ...

    return made


def test_every_tier_has_windows_and_warns_before_it_fails() -> None:
    assert set(WINDOWS) == set(TIERS)
    assert all(warn < fail for warn, fail in WINDOWS.values())
    assert [WINDOWS[tier][1] for tier in sorted(WINDOWS)] == sorted(fail for _, fail in WINDOWS.values())


def test_an_asset_gets_the_policy_of_its_tier() -> None:
    (made,) = with_freshness([asset("a", tags={"tier": "1"})])
    (spec,) = made.specs
    assert spec.freshness_policy == policy(1)


def test_an_asset_that_brought_its_own_policy_keeps_it() -> None:
    own = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=9))
    (made,) = with_freshness([asset("a", tags={"tier": "1"}, freshness_policy=own)])
    (spec,) = made.specs
    assert spec.freshness_policy == own


def test_an_asset_without_a_tier_is_refused() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="no tier tag"):
        with_freshness([asset("a")])
