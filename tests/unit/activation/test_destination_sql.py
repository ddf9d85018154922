"""Tables as destinations: what the contract tests do not see. On both databases, each test with a schema of its own."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
from postgres_server import running_postgres
from rigs.sql import PostgresRig

from commerce_assets.activation.destinations.sql import ATTEMPTS, SqlDestination, database_of
from commerce_assets.activation.destinations.sql_columns import Column, Kind, canonical, canonical_number, key_refusal, refusal
from commerce_assets.activation.destinations.sql_database import LostAnswerError
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Expectation, Operation, RowResult, Sync
from commerce_assets.activation.targets import DeclaredField, MetafieldOptions, SqlTarget

FIELDS = (
    DeclaredField(name="segment"),
    DeclaredField(name="spent", type="money"),
    DeclaredField(name="score", type="number"),
    DeclaredField(name="orders", type="integer"),
    DeclaredField(name="is_vip", type="boolean"),
    DeclaredField(name="born_on", type="date"),
    DeclaredField(name="scored_at", type="timestamp", carried=True),
)
SYNC = Sync("sql", "contacts", tuple(one.name for one in FIELDS if not one.carried), ("scored_at",))
EMPTY = dict.fromkeys(SYNC.fields)
ROW = {
    **EMPTY,
    "segment": "loyal",
    "spent": "12.5",
    "score": "-0.000001",
    "orders": "9007199254740993",
    "is_vip": "true",
    "born_on": "1969-12-31",
    "scored_at": "2026-11-28T23:59:59Z",
}
SECRET = "s3cret-pass"


class Place:
    """A database, and how to look at it without the destination."""

    def __init__(self, url: str, schema: str, ask: Callable[[str], list[Any]]) -> None:
        self.url, self.schema, self.ask = url, schema, ask

    @property
    def is_duckdb(self) -> bool:
        return self.url.startswith("duckdb")

    def target(self, **options: Any) -> SqlTarget:
        return SqlTarget(**{"url_env": "CRM_URL", "table": f"{self.schema}.contacts", **options})

    def destination(self, fields: tuple[DeclaredField, ...] = FIELDS, sync: Sync = SYNC, **options: Any) -> SqlDestination:
        return SqlDestination(self.target(**options), fields, sync, self.url, pause=lambda seconds: None)


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.xdist_group("sql_postgres"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "duckdb":

        def ask(text: str) -> list[Any]:
            with duckdb.connect(str(tmp_path / "tools.duckdb")) as connection:
                return connection.execute(text).fetchall()

        yield Place(f"duckdb:///{tmp_path / 'tools.duckdb'}", "crm", ask)
        return
    yield from _on_postgres(request.getfixturevalue("postgres_url"))


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Place]:
    yield from _on_postgres(postgres_url)


def _on_postgres(url: str) -> Iterator[Place]:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    schema = f"crm_{uuid.uuid4().hex[:8]}"

    def ask(text: str) -> list[Any]:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(text)
            return list(result) if result.returns_rows else []

    yield Place(url, schema, ask)
    ask(f"drop schema if exists {schema} cascade")


def change(key: str, fields: Mapping[str, str | None] | None, expects: Expectation = "any", **known: Any) -> Change:
    operation: Operation = "remove" if fields is None else "update"
    return Change(key, operation, fields or {}, known.pop("held", None), None, None, f"id-{key}", expects=expects, **known)


def load(destination: SqlDestination, *changes: Change) -> dict[str, RowResult]:
    destination.prepare()
    results = list(destination.load(changes, "rows"))
    assert len(results) == len(changes)
    return {result.record_key: result for result in results}


def outcomes(results: Mapping[str, RowResult]) -> dict[str, str]:
    return {key: result.outcome for key, result in results.items()}


def with_table(place: Place, columns: str) -> None:
    place.ask(f"create schema if not exists {place.schema}")
    place.ask(f"create table {place.schema}.contacts ({columns})")


ALL_COLUMNS = (
    "record_key text primary key, segment text, spent numeric(12, 2), score double precision, orders bigint, "
    "is_vip boolean, born_on date, scored_at timestamp"
)


def test_a_table_is_made_with_typed_columns_and_gives_back_what_was_written(place: Place) -> None:
    destination = place.destination()
    assert destination.problems() == []
    assert load(destination, change("a", ROW), change("b", EMPTY | {"is_vip": "false"})) == {
        "a": RowResult("a", "succeeded", None, ROW),
        "b": RowResult("b", "succeeded", None, EMPTY | {"is_vip": "false"}),
    }
    assert dict(place.destination().read(["a", "b", "nobody"])) == {"a": ROW, "b": EMPTY | {"is_vip": "false"}, "nobody": EMPTY}
    types = place.ask(f"select column_name, data_type from information_schema.columns where table_schema = '{place.schema}'")
    plain = {name: type_.split("(")[0].lower() for name, type_ in types}
    text, numeric = ("varchar", "decimal") if place.is_duckdb else ("text", "numeric")
    moment = "timestamp" if place.is_duckdb else "timestamp with time zone"
    assert plain == {
        "record_key": text,
        "segment": text,
        "spent": numeric,
        "score": numeric,
        "orders": "bigint",
        "is_vip": "boolean",
        "born_on": "date",
        "scored_at": moment,
    }
    assert place.ask(f"select count(*) from {place.schema}.contacts where is_vip and spent = 12.50") == [(1,)]


def test_a_table_made_by_a_sync_gets_the_columns_of_another(place: Place) -> None:
    load(place.destination(), change("a", ROW))
    other = Sync("sql", "other", ("tier",))
    second = place.destination((DeclaredField(name="tier"),), other)
    assert second.problems() == []
    assert outcomes(load(second, change("a", {"tier": "gold"}), change("b", {"tier": "none"}))) == {"a": "succeeded", "b": "succeeded"}
    assert dict(place.destination().read(["a", "b"])) == {"a": ROW, "b": EMPTY}
    load(second, change("a", None))
    assert dict(place.destination().read(["a"])) == {"a": ROW}, "a removal clears the sync's own columns"


def test_another_s_table_is_never_altered_and_the_statement_that_mends_it_is_told(place: Place) -> None:
    with_table(place, "record_key text, segment text, spent integer, theirs text default 'x'")
    destination = place.destination()
    problems = destination.problems()
    assert len(problems) == 7
    with pytest.raises(DestinationError, match=r'no column score: run alter table .* add column "score" numeric'):
        destination.prepare()
    assert place.ask(f"select count(*) from information_schema.columns where table_schema = '{place.schema}'") == [(4,)]
    for problem in problems:
        place.ask(problem.partition(": run ")[2])
    assert place.destination().problems() == []
    assert load(place.destination(), change("a", ROW))["a"].held == ROW


def test_a_table_that_is_not_to_be_made_is_asked_for(place: Place) -> None:
    destination = place.destination(create_table=False)
    (problem,) = destination.problems()
    assert "is not there and create_table is false: run CREATE TABLE" in problem
    with pytest.raises(DestinationError, match="create_table is false"):
        destination.prepare()
    assert dict(destination.read(["a"])) == {"a": EMPTY}, "and can be read as empty"
    place.ask(f"create schema {place.schema}")
    place.ask(problem.partition(": run ")[2])
    assert load(place.destination(create_table=False), change("a", ROW))["a"].outcome == "succeeded"


def test_columns_of_others_are_not_touched(place: Place) -> None:
    with_table(place, f"{ALL_COLUMNS}, theirs text default 'x'")
    place.ask(f"insert into {place.schema}.contacts (record_key, theirs) values ('a', 'mine')")
    load(place.destination(), change("a", ROW), change("b", ROW))
    load(place.destination(), change("a", ROW | {"segment": "lapsed"}), change("b", None))
    rows = place.ask(f"select record_key, segment, theirs from {place.schema}.contacts order by 1")
    assert [tuple(row) for row in rows] == [("a", "lapsed", "mine"), ("b", None, "x")]


def test_a_removal_takes_the_row_away_where_that_is_declared(place: Place) -> None:
    destination = place.destination(on_remove="delete")
    load(destination, change("a", ROW), change("b", ROW))
    results = load(destination, change("a", None), change("never there", None))
    assert {result.outcome for result in results.values()} == {"succeeded"}
    assert {tuple((result.held or {}).values()) for result in results.values()} == {(None,) * 7}
    assert place.ask(f"select record_key from {place.schema}.contacts") == [("b",)]


def test_a_row_that_breaks_a_constraint_fails_alone_and_its_values_are_not_told(place: Place) -> None:
    with_table(place, f"{ALL_COLUMNS}, constraint plausible check (orders < 100)")
    changes = [change(f"k{number:03}", ROW | {"orders": str(number)}) for number in range(60, 110)]
    results = load(place.destination(), *changes)
    refused = {key: result for key, result in results.items() if result.outcome == "failed"}
    assert set(refused) == {f"k{number}" for number in range(100, 110)}
    (reason,) = {result.reason for result in refused.values()}
    expected = (
        f"CHECK constraint failed on table {'contacts'}" if place.is_duckdb else "SQLSTATE 23514 (check violation), constraint plausible"
    )
    assert expected in (reason or "")
    assert "100" not in (reason or "")
    assert place.ask(f"select count(*) from {place.schema}.contacts") == [(40,)]


def test_a_column_that_has_to_be_filled_by_others_refuses_rows_by_name(place: Place) -> None:
    with_table(place, f"{ALL_COLUMNS}, theirs text not null")
    place.ask(f"insert into {place.schema}.contacts (record_key, theirs) values ('a', 'x')")
    results = load(place.destination(), change("b", ROW), change("a", ROW, "present"))
    assert outcomes(results) == {"b": "failed", "a": "succeeded"}
    assert "theirs" in (results["b"].reason or "")


def test_what_a_column_would_round_or_cut_off_is_refused_before_it_is_sent(place: Place) -> None:
    with_table(place, ALL_COLUMNS)
    results = load(
        place.destination(),
        change("fits", ROW),
        change("finer", ROW | {"spent": "12.345"}),
        change("larger", ROW | {"spent": "12345678901"}),
        change("word", ROW | {"score": "much"}),
        change("nul", ROW | {"segment": "a\x00b"}),
        change("day", ROW | {"born_on": "2026-02-30"}),
        change("huge", ROW | {"orders": str(2**63)}),
    )
    assert {key for key, result in results.items() if result.outcome == "failed"} == set(results) - {"fits"}
    assert "spent: 3 digits after the point" in (results["finer"].reason or "")
    assert not any(value in str(results) for value in ("12.345", "12345678901", "much", "2026-02-30"))
    assert place.ask(f"select record_key from {place.schema}.contacts") == [("fits",)]


def test_expectations_are_kept_by_the_statement_itself(place: Place) -> None:
    destination = place.destination()
    load(destination, change("there", ROW))
    lapsed = ROW | {"segment": "lapsed"}
    results = load(
        destination,
        change("there", lapsed, "present"),
        change("gone", lapsed, "present"),
        change("new", lapsed, "absent"),
        change("any", lapsed),
    )
    assert {key: (result.outcome, result.reason, result.is_gone) for key, result in results.items()} == {
        "there": ("succeeded", None, False),
        "gone": ("skipped", "not at the destination", False),
        "new": ("succeeded", None, False),
        "any": ("succeeded", None, False),
    }
    again = load(destination, change("there", ROW, "absent"))
    assert (again["there"].outcome, again["there"].reason) == ("skipped", "already there")
    assert dict(destination.read(["there", "gone"])) == {"there": lapsed, "gone": EMPTY}


def test_a_null_leaves_a_field_that_keeps_what_it_holds_and_an_undo_does_not(place: Place) -> None:
    sync = Sync("sql", "contacts", SYNC.mapped, SYNC.carried, kept_when_null=("segment",))
    destination = place.destination(sync=sync)
    load(destination, change("a", ROW))
    wanted = ROW | {"segment": None, "orders": "2"}
    assert load(destination, change("a", wanted, held=ROW))["a"].held == wanted | {"segment": "loyal"}
    assert load(destination, change("a", wanted, held=ROW, is_whole=True))["a"].held == wanted
    assert dict(destination.read(["a"])) == {"a": wanted}


def test_the_moment_of_the_last_write_is_kept_where_it_is_asked_for(place: Place) -> None:
    load(place.destination(synced_at_column="synced_at"), change("a", ROW))
    now = "timezone('UTC', now())" if place.is_duckdb else "now()"
    query = f"select count(*) from {place.schema}.contacts where synced_at between {now} - interval 1 hour and {now}"
    assert place.ask(query if place.is_duckdb else query.replace("1 hour", "'1 hour'")) == [(1,)]


@pytest.mark.parametrize(
    ("key_type", "good", "bad"),
    [("bigint", ["7", "-12"], ["x", "07", str(2**63)]), ("uuid", [str(uuid.UUID(int=5))], ["5", "{00000000-0000-0000-0000-000000000005}"])],
)
def test_keys_may_be_whole_numbers_or_uuids(place: Place, key_type: str, good: list[str], bad: list[str]) -> None:
    with_table(place, ALL_COLUMNS.replace("record_key text", f"contact_id {key_type}"))
    destination = place.destination(key_column="contact_id")
    results = load(destination, *(change(key, ROW) for key in [*good, *bad]))
    assert outcomes(results) == dict.fromkeys(good, "succeeded") | dict.fromkeys(bad, "failed")
    assert dict(destination.read([*good, *bad])) == dict.fromkeys(good, ROW) | dict.fromkeys(bad, EMPTY)
    assert outcomes(load(destination, change(good[0], None))) == {good[0]: "succeeded"}
    assert dict(destination.read(good[:1])) == {good[0]: EMPTY}


def test_chunks_are_transactions_and_a_read_is_one_request(place: Place) -> None:
    destination = SqlDestination(place.target(), FIELDS, SYNC, place.url, chunk_rows=4)
    load(destination, *(change(f"k{number}", ROW) for number in range(10)))
    assert destination.meter.by_operation == {"prepare": 1, "write": 3}
    assert len(dict(destination.read([f"k{number}" for number in range(4)]))) == 4
    assert destination.meter.by_operation["read"] == 1
    estimate = destination.estimate(5, 4, 1)
    assert (estimate.chunk_rows, estimate.reads_new) == (4, True)


def test_names_are_quoted_whatever_they_are(place: Place) -> None:
    field = DeclaredField(name="select")
    destination = SqlDestination(
        place.target(table=f"{place.schema}.Order", key_column="User"), (field,), Sync("sql", "odd", ("select",)), place.url
    )
    assert outcomes(load(destination, change("a", {"select": "'; drop table x; --"}))) == {"a": "succeeded"}
    assert place.ask(f'select "User", "select" from {place.schema}."Order"') == [("a", "'; drop table x; --")]


def test_a_schema_may_be_named_as_its_duckdb_file_is(tmp_path: Path) -> None:
    path = tmp_path / "crm.duckdb"
    destination = SqlDestination(SqlTarget(url_env="CRM_URL", table="crm.contacts"), FIELDS, SYNC, f"duckdb:///{path}")
    assert outcomes(load(destination, change("a", ROW), change("b", ROW))) == {"a": "succeeded", "b": "succeeded"}
    assert outcomes(load(destination, change("a", EMPTY, "present"), change("b", None))) == {"a": "succeeded", "b": "succeeded"}
    assert dict(destination.read(["a", "b"])) == {"a": EMPTY, "b": EMPTY}
    tier = (DeclaredField(name="tier"),)
    again = SqlDestination(SqlTarget(url_env="CRM_URL", table="crm.contacts"), tier, Sync("sql", "tiers", ("tier",)), f"duckdb:///{path}")
    assert load(again, change("a", {"tier": "gold"}))["a"].outcome == "succeeded"


# --- what goes wrong on the way


def test_deadlocks_and_serialization_failures_are_tried_again(on_postgres: Place) -> None:
    place = on_postgres
    with_table(place, ALL_COLUMNS)
    # A sequence remembers what a transaction that was rolled back did.
    place.ask(f"create sequence {place.schema}.tries")
    place.ask(
        f"create function {place.schema}.later() returns trigger language plpgsql as $$ begin "
        f"case nextval('{place.schema}.tries') when 1 then raise deadlock_detected; when 2 then raise serialization_failure; else null; end case; "
        "return new; end $$"
    )
    place.ask(f"create trigger later before insert on {place.schema}.contacts for each row execute function {place.schema}.later()")
    destination = place.destination()
    assert outcomes(load(destination, change("a", ROW), change("b", ROW))) == {"a": "succeeded", "b": "succeeded"}
    assert (destination.meter.by_operation["write"], destination.meter.throttled) == (3, 2)


def test_a_constraint_that_waits_for_the_commit_still_names_its_row(on_postgres: Place) -> None:
    place = on_postgres
    with_table(place, f"{ALL_COLUMNS}, constraint one_each unique (segment) deferrable initially deferred")
    results = load(place.destination(), change("a", ROW), change("b", ROW), change("c", ROW | {"segment": "other"}))
    assert sorted(outcomes(results).values()) == ["failed", "succeeded", "succeeded"]
    (reason,) = [result.reason for result in results.values() if result.outcome == "failed"]
    assert "constraint one_each" in (reason or "")
    assert "loyal" not in (reason or "")


def test_a_text_too_long_and_a_number_too_large_name_their_column(on_postgres: Place) -> None:
    place = on_postgres
    with_table(place, ALL_COLUMNS.replace("segment text", "segment varchar(5)").replace("orders bigint", "orders smallint"))
    fits = ROW | {"orders": "5"}
    results = load(
        place.destination(), change("a", fits), change("b", fits | {"segment": "longer"}), change("c", fits | {"orders": "40000"})
    )
    assert outcomes(results) == {"a": "succeeded", "b": "failed", "c": "failed"}
    assert "segment: 6 characters" in (results["b"].reason or "")
    assert "SQLSTATE 22003" in (results["c"].reason or "")


def test_lost_answers_in_a_row_end_the_push(postgres_url: str) -> None:
    rig = PostgresRig(postgres_url)
    destination = rig.destination()
    rig.cut("before", 3)
    for key in ("a", "b"):
        (result,) = destination.load([change(key, {"segment": "x"})], "rows")
        assert (result.outcome, result.reason) == ("unknown", "the connection broke at the commit")
    with pytest.raises(DestinationUnavailableError, match="3 chunks in a row got no answer"):
        list(destination.load([change("c", {"segment": "x"})], "rows"))
    assert rig.held() == {}
    rig.close()


def test_missing_rights_are_named_with_what_to_grant(on_postgres: Place) -> None:
    place = on_postgres
    with_table(place, ALL_COLUMNS)
    role = f"reader_{place.schema}"
    place.ask(f"create role {role} login password '{SECRET}'")
    place.ask(f"grant usage on schema {place.schema} to {role}")
    place.ask(f"grant select, insert on {place.schema}.contacts to {role}")
    url = sa.make_url(place.url).set(username=role, password=SECRET).render_as_string(hide_password=False)
    limited = SqlDestination(place.target(on_remove="delete"), FIELDS, SYNC, url, pause=lambda seconds: None)
    (problem,) = limited.problems()
    assert problem == f'the role may not update or delete: grant update, delete on "{place.schema}"."contacts" to it'
    with pytest.raises(DestinationError, match="SQLSTATE 42501") as caught:
        list(limited.load([change("a", ROW)], "rows"))
    assert "loyal" not in str(caught.value)
    elsewhere = SqlDestination(place.target(table=f"{place.schema}.elsewhere"), FIELDS, SYNC, url)
    assert any("grant create on its schema" in problem for problem in elsewhere.problems())
    place.ask(f"drop owned by {role}")
    place.ask(f"drop role {role}")


def test_a_server_that_is_not_there_is_a_problem_and_no_secret_is_told(unused_tcp_port: int) -> None:
    url = f"postgresql://someone:{SECRET}@127.0.0.1:{unused_tcp_port}/crm"
    pauses: list[float] = []
    target = SqlTarget(url_env="CRM_URL", table="contacts")
    destination = SqlDestination(target, FIELDS, SYNC, url, pause=pauses.append)
    (problem,) = destination.problems()
    assert "no connection" in problem
    assert "CRM_URL" in problem
    with pytest.raises(DestinationUnavailableError, match=f"given up after {ATTEMPTS} attempts") as caught:
        list(destination.load([change("a", ROW)], "rows"))
    assert len(pauses) == ATTEMPTS - 1
    chain = [caught.value, caught.value.__cause__]
    assert SECRET not in f"{problem}{chain}{destination.database.shown}{destination!r}"


@pytest.fixture
def unused_tcp_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    script = f"import duckdb; held = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_file_that_another_process_holds_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    path = tmp_path / "crm.duckdb"
    target = SqlTarget(url_env="CRM_URL", table="contacts")
    with held_by_another_process(path) as holder:
        patient: list[float] = []

        def let_go_at_the_third(seconds: float) -> None:
            patient.append(seconds)
            if len(patient) == 3:
                holder.communicate("\n")

        blocked = SqlDestination(target, FIELDS, SYNC, f"duckdb:///{path}", pause=lambda seconds: None)
        assert "locked by another process" in blocked.problems()[0]
        with pytest.raises(DestinationUnavailableError, match="locked by another process"):
            blocked.prepare()
        assert blocked.meter.throttled == ATTEMPTS
        destination = SqlDestination(target, FIELDS, SYNC, f"duckdb:///{path}", pause=let_go_at_the_third)
        assert outcomes(load(destination, change("a", ROW))) == {"a": "succeeded"}
        assert len(patient) == 3


def test_urls_that_cannot_be_used_are_told_without_what_they_hold() -> None:
    target = SqlTarget(url_env="CRM_URL", table="contacts")
    for url, match in (
        (None, "CRM_URL is not set: set CRM_URL to postgresql://"),
        ("", "is not set"),
        (f"postgres//u:{SECRET}@h", "is no URL"),
        (f"mysql://u:{SECRET}@h/db", "neither PostgreSQL nor DuckDB"),
        ("duckdb:///:memory:", "names no file"),
    ):
        (problem,) = SqlDestination(target, FIELDS, SYNC, url).problems()
        assert match in problem
        assert SECRET not in problem
    assert SqlDestination(target, FIELDS, SYNC, "duckdb:////no/such/folder/x.duckdb").problems()[0].startswith("the folder of DuckDB file")


def test_a_missing_driver_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    target = SqlTarget(url_env="CRM_URL", table="contacts")
    (problem,) = SqlDestination(target, FIELDS, SYNC, "postgres://u:p@h/db").problems()
    assert "commerce-assets[postgres]" in problem


def test_a_commit_that_fails_in_duckdb_may_have_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = SqlTarget(url_env="CRM_URL", table="contacts")
    database = database_of(f"duckdb:///{tmp_path / 'crm.duckdb'}", target)
    with database.session() as session:

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def commit(self) -> None:
                raise duckdb.IOException("disk full")

        real = session.connection  # type: ignore[attr-defined]
        session.connection = Broken()  # type: ignore[attr-defined]
        with pytest.raises(LostAnswerError), session.part():
            session.run(sa.text("create table x (a int)"))


# --- the declaration


def test_syncs_may_share_a_table_but_no_column() -> None:
    one, other = SqlTarget(url_env="CRM_URL", table="crm.contacts"), SqlTarget(url_env="CRM_URL", table="crm.contacts", on_remove="delete")
    assert one.claims([DeclaredField(name="tier")]) == {"sql/CRM_URL/crm.contacts.tier"}
    stamped = SqlTarget(url_env="CRM_URL", table="crm.contacts", synced_at_column="at")
    assert stamped.claims([DeclaredField(name="tier")]) == {"sql/CRM_URL/crm.contacts.tier", "sql/CRM_URL/crm.contacts.at"}
    assert other.claims([DeclaredField(name="tier")]) == {"sql/CRM_URL/crm.contacts.*"}, "one that deletes rows has the table for itself"


def test_mistakes_of_a_declaration_are_told() -> None:
    target = SqlTarget(url_env="CRM_URL", table="crm.contacts", key_column="id", synced_at_column="at")
    fields = [
        DeclaredField(name="id"),
        DeclaredField(name="at"),
        DeclaredField(name="x" * 64),
        DeclaredField(name="m", metafield=MetafieldOptions()),
    ]
    told = "; ".join(target.mistakes(fields))
    for part in ("field id is named as key_column", "field at is named as synced_at_column", "longer than the 63", "field m has options"):
        assert part in told
    assert target.mistakes([DeclaredField(name="tier")]) == []
    assert SqlTarget(url_env="CRM_URL", table="t", key_column="at", synced_at_column="at").mistakes([]) != []
    for table in ('x"; drop table y', "a.b.c", "", "crm."):
        with pytest.raises(ValueError, match="pattern"):
            SqlTarget(url_env="CRM_URL", table=table)


# --- columns


@pytest.mark.parametrize(
    ("kind", "read", "expected"),
    [
        ("numeric", "12.50", "12.5"),
        ("numeric", "100", "100"),
        ("numeric", "-0.00", "0"),
        ("numeric", "NaN", "NaN"),
        ("double", "1e-06", "0.000001"),
        ("double", "1e+20", "100000000000000000000"),
        ("boolean", "True", "true"),
        ("timestamp", "2026-11-28 10:00:00", "2026-11-28T10:00:00Z"),
        ("timestamp", "2026-11-28 10:00:00+00", "2026-11-28T10:00:00Z"),
        ("timestamp", "2026-11-28 10:00:00.250+00", "2026-11-28T10:00:00.25Z"),
        ("timestamp", "infinity", "infinity"),
        ("text", "12.50", "12.50"),
        ("date", None, None),
    ],
)
def test_what_is_read_is_compared_in_one_form(kind: Kind, read: str | None, expected: str | None) -> None:
    assert canonical(Column("c", "c", kind), read) == expected


def test_a_number_is_the_same_however_it_is_written() -> None:
    assert {canonical_number(text) for text in ("12.5", "12.50", "1.25e1", "0012.5")} == {"12.5"}
    assert refusal(Column("c", "double", "double"), "0.12345678901234567") is not None
    assert refusal(Column("c", "double", "double"), "0.1") is None
    assert key_refusal(Column("c", "bigint", "integer"), "0") is None
