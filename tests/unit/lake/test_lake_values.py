"""The SQL that types raw values: every money, time, id and number that is sound is kept exactly, every other is refused with a reason."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commerce_assets.lake.intake import Intake
from commerce_assets.sources.shopify.mapping import ORDERS

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Intake:
    return Intake(ORDERS, Path(tmp_path_factory.mktemp("intake")), datetime(2026, 3, 1, tzinfo=UTC))


def typed(intake: Intake, call: str, text: str | None) -> object:
    return intake.connection.execute(f"select {call}", [text]).fetchall()[0][0]


def reason(intake: Intake, call: str, text: str | None) -> str | None:
    found = intake.reasons.execute(f"select {call}", [text]).fetchall()[0][0]
    return found[1:] if found else None


@relaxed
@given(amount=st.decimals(min_value=Decimal("-99999999999999"), max_value=Decimal("99999999999999"), places=4))
def test_money_is_exact(intake: Intake, amount: Decimal) -> None:
    assert typed(intake, "money(?)", format(amount, "f")) == amount
    assert reason(intake, "money(?)", format(amount, "f")) is None


@relaxed
@given(
    moment=st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)),
    minutes=st.integers(-14 * 60, 14 * 60),
    style=st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
def test_a_time_with_a_zone_is_the_same_moment_in_utc(intake: Intake, moment: datetime, minutes: int, style: str) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = zoned.isoformat(timespec=style)
    assert typed(intake, "epoch_us(instant(?))", text) == round(
        (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)
    )
    assert typed(intake, "instant(?)", moment.isoformat(timespec=style)) is None
    assert reason(intake, "instant(?)", moment.isoformat(timespec=style)) == "naive_time"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2026-03-01T10:00:00Z", None),
        ("2026-03-01T10:00:00+01:00", None),
        ("2026-03-01T10:00:00.123456Z", None),
        ("2026-03-01T10:00:00", "naive_time"),
        ("2026-03-01 10:00:00", "naive_time"),
        ("2026-03-01", "naive_time"),
        ("2026-13-01T10:00:00Z", "wrong_type"),
        ("2026-02-30T10:00:00Z", "wrong_type"),
        ("1772359200", "wrong_type"),
        ("", "wrong_type"),
        ("soon", "wrong_type"),
        ("infinity", "wrong_type"),
        (None, None),
    ],
)
def test_times(intake: Intake, text: str | None, rule: str | None) -> None:
    assert reason(intake, "instant(?)", text) == rule
    assert (typed(intake, "instant(?)", text) is None) == (rule is not None or text is None)


@relaxed
@given(
    number=st.integers(1, 10**18 - 1),
    kind=st.sampled_from(["Order", "LineItem", "MailingAddress"]),
    query=st.sampled_from(["", "?model_name=CustomerAddress"]),
)
def test_ids_come_from_gids_of_their_kind(intake: Intake, number: int, kind: str, query: str) -> None:
    gid = f"gid://shopify/{kind}/{number}{query}"
    assert typed(intake, f"gid(?, '{kind}')", gid) == number
    assert reason(intake, f"gid(?, '{kind}')", gid) is None
    assert typed(intake, "gid(?, 'Refund')", gid) is None
    assert reason(intake, "gid(?, 'Refund')", gid) == "id_format"


@relaxed
@given(text=st.text(max_size=40))
def test_other_text_is_no_id_and_says_so(intake: Intake, text: str) -> None:
    assert typed(intake, "gid(?, 'Order')", text.replace("\x00", "")) is None
    assert reason(intake, "gid(?, 'Order')", text.replace("\x00", "")) == "id_format"


@relaxed
@given(text=st.text(alphabet="0123456789.eE+-_ x", max_size=20))
def test_a_value_has_a_type_or_a_reason_never_both_never_neither(intake: Intake, text: str) -> None:
    for macro in ("money", "whole", "truth", "instant", "ratio"):
        assert (typed(intake, f"{macro}(?)", text) is None) == (reason(intake, f"{macro}(?)", text) is not None), macro


@pytest.mark.parametrize(
    ("text", "whole"), [("3", 3), ("-3", -3), ("3.0", None), ("3.5", None), ("1e3", None), ("", None), ("three", None)]
)
def test_whole_numbers(intake: Intake, text: str, whole: int | None) -> None:
    assert typed(intake, "whole(?)", text) == whole


def test_sums_of_money_need_every_amount(intake: Intake) -> None:
    query = "select money_sum(['1.10', '2.20']), money_sum([]), money_sum(['1.10', 'x']), money_sum(['1.10', null])"
    assert intake.connection.execute(query).fetchall() == [(Decimal("3.3000"), Decimal("0.0000"), None, None)]
    assert intake.reasons.execute("select money_sum(['1.10', 'x']), money_sum(['1.10'])").fetchall() == [("\x01wrong_type", None)]


def test_the_two_macro_files_define_the_same_names() -> None:
    names = [
        {line.split("create macro ")[1].split("(")[0] for line in ORDERS.sql(name).splitlines() if line.startswith("create macro ")}
        for name in ("_values", "_reasons")
    ]
    assert names[1] - names[0] == {"broken"}
    assert names[0] - names[1] == set()
    assert duckdb.__version__
