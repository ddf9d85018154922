"""Faults strike by rate or by schedule, and a wrong file is refused with one clear sentence."""

from pathlib import Path
from typing import Any

import pytest

from commerce_assets.sandbox.faults import FaultsError, parse_faults, read_faults


def kinds(faults: Any, where: str, count: int, text: str = "") -> list[list[str]]:
    return [[fault.kind for fault in faults.strike(where, text)] for _ in range(count)]


def test_the_nth_request_of_a_class_is_struck():
    faults = parse_faults({"faults": [{"kind": "http_503", "nth": [2]}, {"kind": "url_expired", "nth": 1}]})
    assert kinds(faults, "graphql", 3) == [[], ["http_503"], []]
    assert kinds(faults, "download", 2) == [["url_expired"], []]


def test_a_rate_is_the_same_for_the_same_seed():
    content = {"seed": 3, "faults": [{"kind": "slow", "rate": 0.3}]}
    first, second = kinds(parse_faults(content), "graphql", 200), kinds(parse_faults(content), "graphql", 200)
    assert first == second
    assert 30 < sum(map(len, first)) < 90


def test_match_and_times_limit_a_fault():
    faults = parse_faults({"faults": [{"kind": "throttled", "rate": 1, "match": "orders", "times": 1}]})
    assert kinds(faults, "graphql", 1, "{ products }") == [[]]
    assert kinds(faults, "graphql", 2, "{ orders }") == [["throttled"], []]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "list"),
        ({"faults": [{"kind": "nope", "rate": 1}]}, "kind must be one of"),
        ({"faults": [{"kind": "slow"}]}, 'either "rate" or "nth"'),
        ({"faults": [{"kind": "slow", "rate": 2}]}, "between 0 and 1"),
        ({"faults": [{"kind": "throttled", "on": "download", "nth": 1}]}, "cannot strike"),
        ({"faults": [{"kind": "slow", "nth": [0]}]}, "from 1"),
        ({"faults": [{"kind": "slow", "nth": 1, "oops": 1}]}, "unknown option oops"),
    ],
)
def test_a_wrong_file_is_refused(content: Any, message: str):
    with pytest.raises(FaultsError, match=message):
        parse_faults(content)


def test_a_missing_or_broken_file_is_named(tmp_path: Path):
    assert read_faults(None).entries == []
    with pytest.raises(FaultsError, match=r"absent\.json"):
        read_faults(tmp_path / "absent.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(FaultsError, match="is not JSON"):
        read_faults(broken)
