"""The Klaviyo example as a user copies it, against a receiver that keeps to Klaviyo's documented shape and limits."""

import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml
from rigs.http import Call, Clock, Receiver, Reply

from commerce_assets.activation.declarations import DeclaredSync, read_file, refuse_shared_fields
from commerce_assets.activation.destinations.http import HttpDestination
from commerce_assets.activation.engine import push
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.mapping import as_records
from commerce_assets.activation.records import CONSENT_COLUMN, Change, idempotency_key

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "klaviyo"
HOST = "https://a.klaviyo.com"
API_KEY = "pk_0123456789abcdef"
MOST_PROFILES, MOST_BYTES, MOST_PROFILE_BYTES = 10_000, 5_000_000, 100_000
WINDOWS = ((10, 1.0), (150, 60.0))
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+")


class Klaviyo:
    """Takes imports as its reference says, and keeps the profiles' properties by e-mail address."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.profiles: dict[str, dict[str, Any]] = {}
        self.refusals: list[str] = []
        self.sizes: list[int] = []
        self.receiver = Receiver(self._answer, self.clock)

    def _answer(self, call: Call) -> Reply:
        if any(sum(call.at // seconds == one.at // seconds for one in self.receiver.calls) > most for most, seconds in WINDOWS):
            return self._error(429, "throttled", None)
        if call.headers.get("authorization") != f"Klaviyo-API-Key {API_KEY}":
            return self._error(401, "not_authenticated", None)
        if not re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", call.headers.get("revision", "")):
            return self._error(400, "invalid", "/revision")
        if call.headers.get("content-type") != "application/vnd.api+json":
            return self._error(415, "unsupported_media_type", None)
        if (call.method, call.path) != ("POST", "/api/profile-bulk-import-jobs"):
            return self._error(404, "not_found", None)
        if len(call.body) > MOST_BYTES:
            return self._error(413, "payload_too_large", None)
        return self._import(json.loads(call.body))

    def _import(self, body: dict[str, Any]) -> Reply:
        job = body["data"]
        if set(body) != {"data"} or set(job) != {"type", "attributes"} or job["type"] != "profile-bulk-import-job":
            return self._error(400, "invalid", "/data/type")
        profiles = job["attributes"]["profiles"]["data"]
        if not 0 < len(profiles) <= MOST_PROFILES:
            return self._error(400, "invalid", "/data/attributes/profiles/data")
        for number, profile in enumerate(profiles):
            at = f"/data/attributes/profiles/data/{number}"
            if set(profile) != {"type", "attributes"} or profile["type"] != "profile":
                return self._error(400, "invalid", f"{at}/type")
            if len(json.dumps(profile, ensure_ascii=False).encode()) > MOST_PROFILE_BYTES + 1_000:
                return self._error(400, "too_large", at)
            if not EMAIL.fullmatch(profile["attributes"]["email"]):
                return self._error(400, "invalid_email", f"{at}/attributes/email")
        for profile in profiles:
            attributes = profile["attributes"]
            self.profiles.setdefault(attributes["email"], {}).update(attributes["properties"])
        self.sizes.append(len(profiles))
        return Reply(202, {"data": {"type": "profile-bulk-import-job", "id": f"job-{len(self.sizes)}"}})

    def _error(self, status: int, code: str, pointer: str | None) -> Reply:
        self.refusals.append(f"{status} {code} {pointer}")
        error = {"id": "1", "status": status, "code": code, "title": "Invalid input.", "detail": "…", "source": {"pointer": pointer}}
        return Reply(status, {"errors": [error]}, {"Retry-After": "1"} if status == 429 else {})


@pytest.fixture
def klaviyo() -> Iterator[Klaviyo]:
    made = Klaviyo()
    yield made
    made.receiver.close()


@pytest.fixture
def declared(klaviyo: Klaviyo, tmp_path: Path) -> DeclaredSync:
    """The example, with the receiver on loopback in place of Klaviyo."""
    text = (EXAMPLE / "defs.yaml").read_text(encoding="utf-8")
    assert text.count(HOST) == 1
    path = tmp_path / "defs.yaml"
    path.write_text(text.replace(HOST, klaviyo.receiver.url), encoding="utf-8")
    (placed,) = read_file(path)
    return placed.declared


def destination_of(declared: DeclaredSync, klaviyo: Klaviyo) -> HttpDestination:
    clock = klaviyo.clock
    return HttpDestination(
        declared.target,  # type: ignore[arg-type]
        declared.fields,
        declared.as_sync(),
        environment={"KLAVIYO_API_KEY": API_KEY},
        pause=clock.pause,
        clock=clock.now,
        now=clock.wall,
        jitter=lambda: 1.0,
    )


def customers(*emails: str) -> pl.DataFrame:
    """Rows of the example's model."""
    return pl.DataFrame(
        [
            {
                "customer_gid": f"gid://shopify/Customer/{number}",
                "email": email,
                "rfm_segment": "loyal",
                "lifecycle": "active",
                "is_vip": number == 1,
                "vip_tier": None,
                "churn_risk": "low",
                "predicted_value_amount": Decimal("12.5000"),
                "next_order_expected_on": date(2026, 12, 24),
                "scored_at": datetime(2026, 11, 28),
            }
            for number, email in enumerate(emails, start=1)
        ],
        schema_overrides={"vip_tier": pl.String, "predicted_value_amount": pl.Decimal(18, 4)},
    )


def some(declared: DeclaredSync, count: int, segment: str = "loyal") -> list[Change]:
    sync = declared.as_sync()
    fields = dict.fromkeys(sync.fields) | {"rfm_segment": segment, "is_vip": "false", "predicted_value": "1.5"}
    keys = [f"gid://shopify/Customer/{number}" for number in range(count)]
    return [
        Change(key, "create", fields | {"email": f"c{number}@example.com"}, None, None, "f", idempotency_key(sync, key, "f"))
        for number, key in enumerate(keys)
    ]


def test_the_example_is_a_right_declaration_that_needs_consent() -> None:
    (placed,) = read_file(EXAMPLE / "defs.yaml")
    refuse_shared_fields([placed])
    declared = placed.declared
    assert declared.consent is not None
    assert (declared.consent.channel, declared.mode, declared.target.kind) == ("email", "upsert", "http")
    assert not [claim for claim in declared.target.claims(declared.fields) if claim.endswith("email")]


def test_the_examples_model_has_the_columns_that_the_example_needs() -> None:
    (placed,) = read_file(EXAMPLE / "defs.yaml")
    declared = placed.declared
    (model,) = yaml.safe_load((EXAMPLE / f"{declared.model}.yml").read_text(encoding="utf-8"))["models"]
    columns = [column["name"] for column in model["columns"]]
    selected = (EXAMPLE / f"{declared.model}.sql").read_text(encoding="utf-8").rpartition("select")[2].partition("from")[0]
    needed = {declared.key.column, *(one.source for one in declared.fields), *filter(None, declared.scores.values())}
    assert model["name"] == declared.model
    assert [name.strip().rpartition(".")[2] for name in selected.split(",")] == columns
    assert needed <= set(columns)


def test_the_examples_model_has_one_row_an_address_of_those_who_agreed() -> None:
    query = re.sub(r"\{\{ ref\(\"(\w+)\"\) \}\}", r"\1", (EXAMPLE / "sync_klaviyo__customer_scores.sql").read_text(encoding="utf-8"))
    with duckdb.connect() as connection:
        connection.execute(
            "create table dim_customer as select * from (values (1, 'a@x.org', true, false), (2, ' A@x.org ', true, false), (3, 'b@x.org', false, false), "
            "(4, '', true, false), (5, 'c@x.org', true, true), (6, 'd@x.org', true, false)) as given (customer_id, email, is_email_subscribed, is_deleted)"
        )
        connection.execute("alter table dim_customer add column customer_gid varchar default 'gid'")
        connection.execute(
            "create table customer_scores as select customer_id, false as is_deleted, timestamp '2026-11-28' as scored_at from dim_customer"
        )
        for column in ("rfm_segment", "lifecycle", "is_vip", "vip_tier", "churn_risk", "predicted_value_amount", "next_order_expected_on"):
            connection.execute(f"alter table customer_scores add column {column} varchar")
        for column in ("rfm_receipt_id", "value_receipt_id"):
            connection.execute(f"alter table customer_scores add column {column} varchar")
        rows = connection.execute(f"select customer_id, email from ({query}) order by customer_id").fetchall()
    assert rows == [(2, "a@x.org"), (6, "d@x.org")]


def test_a_push_makes_profiles_in_klaviyos_shape(declared: DeclaredSync, klaviyo: Klaviyo, tmp_path: Path) -> None:
    sync = declared.as_sync()
    rows = customers("jane@example.com", "not an address", "naïve@example.com", "left@example.com")
    records = as_records(declared, rows).with_columns(pl.lit(True).alias(CONSENT_COLUMN))
    agreeing = set(rows["customer_gid"].to_list()[:3])
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        report = push(sync, records, ledger, destination_of(declared, klaviyo), consents=lambda keys: agreeing & set(keys))
    assert (report.succeeded, report.failed, report.skipped["no_consent"]) == (2, 1, 1)
    assert report.failure_reasons == {"refused with 400 (invalid_email)": 1}
    assert sorted(klaviyo.profiles) == ["jane@example.com", "naïve@example.com"]
    assert klaviyo.profiles["jane@example.com"] == {
        "shopify_customer_gid": "gid://shopify/Customer/1",
        "rfm_segment": "loyal",
        "lifecycle": "active",
        "is_vip": True,
        "vip_tier": None,
        "churn_risk": "low",
        "predicted_value": 12.5,
        "next_order_on": "2026-12-24",
    }


def test_no_call_holds_more_profiles_than_klaviyo_takes(declared: DeclaredSync, klaviyo: Klaviyo) -> None:
    destination = destination_of(declared, klaviyo)
    results = list(destination.load(some(declared, MOST_PROFILES + 1), "batches"))
    destination.close()
    assert {one.outcome for one in results} == {"succeeded"}
    assert (sorted(klaviyo.sizes), klaviyo.refusals) == ([1, MOST_PROFILES], [])


def test_no_call_or_profile_is_larger_than_klaviyo_takes(declared: DeclaredSync, klaviyo: Klaviyo) -> None:
    destination = destination_of(declared, klaviyo)
    large = some(declared, 61, "x" * MOST_PROFILE_BYTES)[-1]
    results = list(destination.load([*some(declared, 60, "é" * 48_000), large], "batches"))
    destination.close()
    failed = {one.record_key: one.reason for one in results if one.outcome != "succeeded"}
    assert list(failed) == [large.record_key]
    assert str(failed[large.record_key]).endswith("more than the 100,000 that the receiver takes of one")
    assert (sum(klaviyo.sizes), klaviyo.refusals) == (60, [])
    assert max(len(call.body) for call in klaviyo.receiver.calls) > MOST_BYTES - MOST_PROFILE_BYTES, "and calls are full"


def test_klaviyos_windows_are_kept(declared: DeclaredSync, klaviyo: Klaviyo) -> None:
    one_profile_a_call = declared.target.model_copy(update={"batch_rows": 1, "concurrency": 1})
    destination = destination_of(declared.model_copy(update={"target": one_profile_a_call}), klaviyo)
    results = list(destination.load(some(declared, 320), "batches"))
    destination.close()
    assert {one.outcome for one in results} == {"succeeded"}
    assert (destination.meter.throttled, klaviyo.refusals) == (0, [])


def test_a_wrong_key_stops_the_push_and_names_the_variable(declared: DeclaredSync, klaviyo: Klaviyo) -> None:
    target = declared.target
    destination = HttpDestination(target, declared.fields, declared.as_sync(), environment={"KLAVIYO_API_KEY": "pk_other"})  # type: ignore[arg-type]
    with pytest.raises(Exception, match="answered 401: look whether KLAVIYO_API_KEY holds what the receiver knows"):
        list(destination.load(some(declared, 3), "batches"))
    destination.close()
    assert (
        HttpDestination(target, declared.fields, declared.as_sync(), environment={})
        .problems()[0]
        .startswith(  # type: ignore[arg-type]
            "the environment variable KLAVIYO_API_KEY is not set"
        )
    )
