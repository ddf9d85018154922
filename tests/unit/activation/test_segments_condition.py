"""Conditions of segments: what is one, what is refused and with which words, and that nothing else ever comes out."""

import re
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_projects import PROJECT
from sqlglot import exp, parse_one

from commerce_assets.activation.segments_columns import Column, Columns, read_columns
from commerce_assets.activation.segments_condition import JINJA, ConditionError, ConditionReader

COLUMNS = read_columns(PROJECT)
KNOWN = {column.qualified for column in COLUMNS.columns} | {"as_of.as_of_on"}


@pytest.fixture(scope="module")
def reader() -> Iterator[ConditionReader]:
    with ConditionReader(COLUMNS) as opened:
        yield opened


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("C.Order_Count>=2", "c.order_count >= 2"),
        ("lifecycle = 'At Risk' -- only these\n and /* yes */ not is_b2b", "s.lifecycle = 'At Risk' and not c.is_b2b"),
        ("is_vip or is_b2b", "s.is_vip or c.is_b2b"),
        ("(is_vip or is_b2b) and c.order_count > 1", "(s.is_vip or c.is_b2b) and c.order_count > 1"),
        ("current_date - last_ordered_on < 90", "as_of.as_of_on - c.last_ordered_on < 90"),
        ("today() - last_ordered_on < 90", "as_of.as_of_on - c.last_ordered_on < 90"),
        ("first_ordered_on >= date_trunc('month', current_date)", "c.first_ordered_on >= date_trunc('MONTH', as_of.as_of_on)"),
        ("date_diff('day', last_ordered_on, current_date) > 3", "date_diff('DAY', c.last_ordered_on, as_of.as_of_on) > 3"),
        ("next_order_expected_on <= current_date + interval 7 day", "s.next_order_expected_on <= as_of.as_of_on + interval '7' day"),
        ("last_ordered_on > '2026-01-31'", "c.last_ordered_on > '2026-01-31'"),
        ("last_ordered_at::date = date '2026-01-31'", "try_cast(c.last_ordered_at as date) = cast('2026-01-31' as date)"),
        ("cast(cast(country_code as integer) as double) > 4", "try_cast(try_cast(c.country_code as int) as double) > 4"),
        ("discount_amount / nullif(gross_amount, 0) > 0.2", "c.discount_amount / nullif(c.gross_amount, 0) > 0.2"),
        ("lifecycle not in ('new', 'active')", "not s.lifecycle in ('new', 'active')"),
        ("lifecycle = 'o''neil'", "s.lifecycle = 'o''neil'"),
        ("lifecycle = '''; drop table c; --'", "s.lifecycle = '''; drop table c; --'"),
        ("coalesce(churn_rate, 1) between 0.2 and 0.5", "coalesce(s.churn_rate, 1) between 0.2 and 0.5"),
        ("case when is_vip then c.order_count > 1 else false end", "case when s.is_vip then c.order_count > 1 else false end"),
        ('s."order_count" > - -1', "s.order_count > - -1"),
        ("starts_with(lower(country_code), 'g')", "starts_with(lower(c.country_code), 'g')"),
        ("country_code is distinct from 'GB'", "c.country_code is distinct from 'GB'"),
    ],
)  # fmt: skip
def test_a_condition_is_written_from_what_was_understood(given: str, written: str, reader: ConditionReader) -> None:
    assert reader.read(given).sql == written


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "the condition is empty"),
        ("-- nothing", "the condition is empty"),
        ("is_vip; select 1", "this is not one SQL expression"),
        ("is_vip; is_b2b", "take out the semicolon"),
        ("is_vip union select true", "this is not one SQL expression"),
        ("select true", "this is not one SQL expression"),
        ("is_vip) or (true", "this is not one SQL expression"),
        ("exists (select 1 from c)", "a subquery is not allowed"),
        ("c.order_count > (select max(order_count) from c)", "a subquery is not allowed"),
        ("c.customer_id in (select customer_id from s)", "a subquery is not allowed"),
        ("c.customer_id in ()", "`in` needs a list of values"),
        ("row_number() over () > 1", "a window function is not allowed"),
        ("max(c.order_count) > 1", "an aggregate is not allowed"),
        ("count(*) > 1", "an aggregate is not allowed"),
        ("read_csv('/etc/passwd') is null", "the function read_csv is not allowed"),
        ("getenv('HOME') = 'x'", "the function getenv is not allowed"),
        ("pg_sleep(1) is null", "the function pg_sleep is not allowed"),
        ("last_ordered_at > now()", "current_date is the day that the scores describe"),
        ("last_ordered_at > current_timestamp", "the current time is not allowed"),
        ("attach 'x.db'", "this is not one SQL expression"),
        ("pragma version", "this is not one SQL expression"),
        ("c.order_count > $1", "a placeholder is not allowed"),
        ("c.order_count > ?", "a placeholder is not allowed"),
        ("reasons[1] = 'x'", "`bracket` is not allowed"),
        ("reasons = ['x']", "not allowed"),
        ("list_transform(reasons, x -> x) is null", "not allowed"),
        ("c.* is null", "not allowed"),
        ("c.reasons = 'x'", "there is no column c.reasons: did you mean s.reasons?"),
        ("order_count > 1", "order_count is in both marts: say c.order_count or s.order_count"),
        ("marts.customer_360.order_count > 1", "marts.customer_360.order_count is not known"),
        ("as_of.as_of_on = current_date", "as_of.as_of_on is not known"),
        ("cast(nothing as date) > '2026-01-01'", "there is no column nothing"),
        ("lifecycle = '{{ env_var(\"HOME\") }}'", "dbt would take it for a template"),
        ("lifecycle = '{% raw %}'", "dbt would take it for a template"),
        ("lifecycle = 'a\nb'", "line breaks"),
        ("lifecycle = 5", "s.lifecycle is a text and 5 is a number: they cannot be compared; write numbers without quotes"),
        ("c.order_count = '5'", "c.order_count is a number and '5' is a text"),
        ("c.order_count in (1, '2')", "c.order_count is a number and '2' is a text"),
        ("lifecycle between 1 and 'x'", "s.lifecycle is a text and 1 is a number"),
        ("is_vip = 1", "s.is_vip is a boolean and 1 is a number: they cannot be compared; say it without a comparison"),
        ("last_ordered_on > 'soon'", "write days as '2026-01-31'"),
        ("last_ordered_on > 30", "distances as current_date - 30"),
        ("last_ordered_on > cast('soon' as date)", "DuckDB cannot compute this"),
        ("last_ordered_on > country_code", "c.last_ordered_on is a date or moment and c.country_code is a text"),
        ("c.order_count", "a condition is true or false, and this is a number"),
        ("lifecycle", "a condition is true or false, and this is a text"),
        ("null", "a condition is true or false, and this is null"),
        ("c.order_count and is_vip", "c.order_count is a number, not true or false"),
        ("not c.order_count", "c.order_count is a number, not true or false"),
        ("cast(lifecycle as json) is null", "a cast to json is not allowed"),
        ("lower(c.order_count + 'x') = 'x'", "DuckDB cannot compute this"),
        ("(" * 300 + "is_vip" + ")" * 300, "there are too many brackets"),
        ("not " * 300 + "is_vip", "levels deep"),
        (" and ".join(["is_vip"] * 100), "levels deep"),
        (f"lifecycle = '{'x' * 4_000}'", "more than the 4,000 allowed"),
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_what_to_do(given: str, told: str, reader: ConditionReader) -> None:
    with pytest.raises(ConditionError) as refused:
        reader.read(given)
    assert told in str(refused.value)


def test_personal_data_cannot_be_a_condition() -> None:
    columns = Columns(
        (Column("c", "email", "varchar", "", True), Column("c", "city", "varchar", "", False), Column("s", "x", "bigint", "", False))
    )
    with ConditionReader(columns) as reader:
        assert reader.read("city = 'Ghent'").columns == ("c.city",)
        for text in ("email like '%@example.com'", "try_cast(c.email as date) is null", "coalesce(c.EMAIL, city) = 'x'"):
            with pytest.raises(ConditionError, match=r"c\.email holds personal data"):
                reader.read(text)


def test_columns_that_a_contract_or_the_yml_marks_are_personal() -> None:
    from segment_projects import columns_of

    assert {column.name for column in COLUMNS.of("c")} == set(columns_of("customer_360"))
    assert not any(column.is_personal for column in COLUMNS.columns), "the marts behind segments hold no personal data"


def test_members_are_the_same_whichever_way_a_condition_is_spelt(reader: ConditionReader) -> None:
    spelt = [
        reader.read(text).sql
        for text in ("c.order_count<>1 AND is_vip", "((c.order_count) != 1) and s.is_vip", "c.order_count != 1 and is_vip")
    ]
    assert spelt[0] == spelt[2] == "c.order_count <> 1 and s.is_vip"
    assert spelt[1] == "((c.order_count) <> 1) and s.is_vip"


WORDS = st.sampled_from(
    [
        *("c.order_count", "is_vip", "lifecycle", "last_ordered_on", "current_date", "c.email", "as_of.as_of_on", "reasons", "x", "*"),
        *("and", "or", "not", "is", "null", "between", "in", "like", "case", "when", "then", "else", "end", "true", "interval", "day"),
        *("=", "<>", "<", ">=", "+", "-", "*", "/", "%", "||", "::", "->", ":", ",", ".", ";", "(", ")", "[", "]", "{", "}", "{{", "}}", "{%", "$1", "?"),
        *("'", '"', "''", "'a'", "'{{ x }}'", "--", "/*", "*/", "\n", "\\", "1", "0.5", "1e400", "'2026-01-01'", "#1", "@x", "E'\\n'", "$$x$$"),
        *("select", "from", "union", "exists", "with", "copy", "attach", "pragma", "install", "read_csv('x')", "getenv('HOME')", "abs(", "cast(", "as date)"),
        *("coalesce(", "date_trunc('month',", "over ()", "filter (where", "collate nocase", "at time zone 'UTC'", "using", "lambda", "try(", "extract(year from"),
    ]
)  # fmt: skip
SENTENCES = st.lists(WORDS, min_size=1, max_size=14).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), SENTENCES, st.tuples(SENTENCES, st.text(max_size=10)).map("".join)))
def test_any_text_gives_an_error_or_one_expression_over_known_columns(text: str) -> None:
    try:
        condition = _READER.read(text)
    except ConditionError:
        return
    _assert_is_harmless(condition.sql)


LEAVES = st.sampled_from(
    [
        "c.order_count > 1",
        "is_vip",
        "not is_b2b",
        "lifecycle = 'a''b'",
        "lifecycle like '%--%'",
        "current_date - last_ordered_on < 90",
        "churn_rate is null",
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda some: st.one_of(
        st.tuples(some, st.sampled_from(["and", "or"]), some).map(lambda parts: f"({parts[0]}) {parts[1]} {parts[2]}"),
        some.map(lambda one: f"not ({one})"),
        st.tuples(some, some).map(lambda parts: f"case when {parts[0]} then {parts[1]} else false end"),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_a_condition_reads_the_same_again_and_means_what_was_written(text: str) -> None:
    condition = _READER.read(text)
    _assert_is_harmless(condition.sql)
    named = condition.sql.replace("as_of.as_of_on", "current_date")
    assert _READER.read(named) == condition
    # Members by the user's own text and by ours, over rows of every kind.
    given = parse_one(text, read="duckdb").transform(_qualified).sql("duckdb")
    both = f"select count(*) from c, s, as_of where ({given}) is distinct from ({condition.sql})"
    assert _ROWS.execute(both).fetchone() == (0,)


def _qualified(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.CurrentDate):
        return exp.column("as_of_on", table="as_of")
    if isinstance(node, exp.Column) and not node.table:
        return exp.column(node.name, table=COLUMNS.named(node.name)[0].alias)
    return node


def _assert_is_harmless(sql: str) -> None:
    """One expression, that reads as the same tree again, of known columns, without a way out of its place."""
    tree = parse_one(f"select 1 from c, s, as_of where {sql}", read="duckdb")
    assert isinstance(tree, exp.Select)
    assert {name for name, value in tree.args.items() if value} == {"expressions", "from_", "joins", "where"}
    assert not list(tree.find_all(exp.Subquery, exp.Union, exp.Window, exp.AggFunc, exp.Anonymous, exp.Command))
    assert {f"{column.table}.{column.name}" for column in tree.find_all(exp.Column)} <= KNOWN
    assert parse_one(sql, read="duckdb").sql("duckdb").lower() == sql.lower()
    assert not any(mark in sql for mark in JINJA)
    bare = re.sub(r"'(?:[^']|'')*'", "''", sql)
    assert not any(mark in bare for mark in (";", "--", "/*", "\n", "{", "}", "$", '"'))


_READER = ConditionReader(COLUMNS)
_ROWS = duckdb.connect()
_ROWS.execute(
    "create table c as select n % 4 as order_count, n % 3 = 0 as is_b2b, date '2026-01-01' - (n * 40)::integer as last_ordered_on from range(12) t(n)"
)
_ROWS.execute(
    "create table s as select * from (values (true, 'a''b', 0.5), (false, 'x--y', null), (null, null, 0.1)) t(is_vip, lifecycle, churn_rate)"
)
_ROWS.execute("create table as_of as select date '2026-01-02' as as_of_on")
