"""The HTTP destination against a receiver on loopback: what goes over the wire, and what is made of each answer. No test waits."""

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx
import polars as pl
import pytest
from rigs.http import FIELDS, READ, SECRET, SIGN, SYNC, TOKEN, Clock, HttpRig, Receiver, Reply

from commerce_assets.activation.destinations.http import HttpDestination
from commerce_assets.activation.destinations.http_pace import Pace
from commerce_assets.activation.destinations.http_wire import signature
from commerce_assets.activation.engine import PushInterruptedError, push
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.activation.records import Change, Expectation, Fields, Operation, RowResult, Sync, idempotency_key
from commerce_assets.activation.targets import DeclaredField, HttpTarget
from commerce_assets.activation.targets.http import RateOptions, SignOptions

NewRig = Callable[..., HttpRig]
NewReceiver = Callable[..., Receiver]
HELD: Fields = {"segment": "old", "value": "1", "as_of": None}


@pytest.fixture
def new_rig() -> Iterator[NewRig]:
    made: list[HttpRig] = []

    def make(**options: Any) -> HttpRig:
        made.append(HttpRig(**options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def new_receiver() -> Iterator[NewReceiver]:
    made: list[Receiver] = []

    def make(*replies: Reply | None, clock: Clock | None = None) -> Receiver:
        """Answers with the replies in turn; the last one again and again."""
        waiting = list(replies)
        made.append(Receiver(lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0], clock or Clock()))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


def change(
    key: str = "key-1",
    fields: Mapping[str, str | None] | None = None,
    operation: Operation = "update",
    held: Fields | None = None,
    expects: Expectation = "any",
    is_whole: bool = False,
    sync: Sync = SYNC,
) -> Change:
    filled = {"segment": "vip", "value": "0.10", "as_of": None} | dict(fields or {})
    print_ = "removed" if operation == "remove" else json.dumps(filled)
    return Change(
        key, operation, {} if operation == "remove" else filled, held, "a", print_, idempotency_key(sync, key, print_), is_whole, expects
    )


def changes(count: int, **given: Any) -> list[Change]:
    return [change(f"key-{number:03}", **given) for number in range(count)]


def load(destination: HttpDestination, some: Sequence[Change]) -> dict[str, RowResult]:
    results = list(destination.load(some, "rows"))
    assert sorted(one.record_key for one in results) == sorted(one.record_key for one in some), "one result a change"
    return {one.record_key: one for one in results}


def outcomes(results: Mapping[str, RowResult]) -> dict[str, tuple[str, str | None]]:
    return {key: (one.outcome, one.reason) for key, one in results.items()}


def load_until_stopped(destination: HttpDestination, some: Sequence[Change]) -> tuple[list[RowResult], str]:
    results: list[RowResult] = []
    with pytest.raises(DestinationUnavailableError) as stopped:
        results.extend(destination.load(some, "rows"))
    # `extend` keeps what came before the error.
    return results, str(stopped.value)


def simple(
    url: str, clock: Clock | None = None, fields: Sequence[DeclaredField] = FIELDS, sync: Sync = SYNC, **options: Any
) -> HttpDestination:
    """To a receiver without a mind of its own; one call at a time, so that the order is known."""
    clock = clock or Clock()
    target = HttpTarget.model_validate({"url": url, "concurrency": 1, **options})
    assert target.mistakes(fields) == []
    return HttpDestination(target, fields, sync, environment={}, pause=clock.pause, clock=clock.now, now=clock.wall, jitter=lambda: 1.0)


# --- what goes over the wire


def test_a_record_goes_out_as_its_template_says_with_every_digit(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200))
    fields = tuple(
        DeclaredField(name=name, type=type_)
        for name, type_ in (
            ("name", "text"),
            ("price", "money"),
            ("age", "integer"),
            ("vip", "boolean"),
            ("likes", "json"),
            ("labels", "tags"),
        )
    )
    sync = Sync("http", "all", mapped=tuple(one.name for one in fields))
    template = {
        "who": {"id": "{key}", "once": "{idempotency_key}"},
        "static": [1, 2.5, True, None, "plain {text}"],
        "list": ["{name}", {"price": "{price:number}"}],
        "age": "{age:integer}",
        "vip": "{vip:boolean}",
        "likes": "{likes:json}",
        "labels": "{labels:list}",
        "text": "{price}",
    }
    values = {"name": "J", "price": "12345678901234567890.10", "age": "-7", "vip": "true", "likes": '{"a":[1.50]}', "labels": "a,b"}
    sent = replace(change("k/1", sync=sync), fields=values)
    destination = simple(receiver.url, fields=fields, sync=sync, template=template)
    assert outcomes(load(destination, [sent])) == {"k/1": ("succeeded", None)}
    destination.close()
    assert receiver.calls[0].json == {
        "who": {"id": "k/1", "once": sent.idempotency_key},
        "static": ["1", "2.5", True, None, "plain {text}"],
        "list": ["J", {"price": "12345678901234567890.10"}],
        "age": "-7",
        "vip": True,
        "likes": {"a": ["1.50"]},
        "labels": ["a", "b"],
        "text": "12345678901234567890.10",
    }
    assert b'"price":12345678901234567890.10' in receiver.calls[0].body, "a number, and no float on the way"


def test_without_a_template_every_field_goes_under_its_name(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(204))
    load(simple(receiver.url), [change("k")])
    assert receiver.calls[0].json == {"key": "k", "segment": "vip", "value": "0.10", "as_of": None}
    assert receiver.calls[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("value", "hint", "reason"),
    [
        ("1,5", "number", "value is no number"),
        ("NaN", "number", "value is no number"),
        ("1.5", "integer", "value is no whole number"),
        ("yes", "boolean", "value is neither true nor false"),
        ("{a}", "json", "value is no JSON"),
        ("\ud800", "text", "a value is no valid Unicode"),
    ],
)
def test_a_value_that_is_not_what_its_hint_says_fails_alone_and_unsent(
    new_receiver: NewReceiver, value: str, hint: str, reason: str
) -> None:
    receiver = new_receiver(Reply(200))
    template = {"id": "{key}", "v": f"{{value:{hint}}}", "rest": ["{segment}", "{as_of}"]}
    fit = {"number": "1", "integer": "1", "boolean": "true", "json": "1", "text": "1"}[hint]
    results = load(simple(receiver.url, template=template), [change("bad", {"value": value}), change("good", {"value": fit})])
    assert outcomes(results) == {"bad": ("failed", reason), "good": ("succeeded", None)}
    assert [call.json["id"] for call in receiver.calls] == ["good"]


@pytest.mark.parametrize("omits", [True, False])
def test_nulls_are_left_out_or_sent_as_declared(new_receiver: NewReceiver, omits: bool) -> None:
    receiver = new_receiver(Reply(200))
    template = {"id": "{key}", "a": {"segment": "{segment}", "value": "{value:number}"}, "list": ["{as_of}", "{segment}"]}
    load(simple(receiver.url, template=template, omit_nulls=omits), [change("k", {"segment": None})])
    inner: dict[str, Any] = {"value": "0.10"} if omits else {"segment": None, "value": "0.10"}
    assert receiver.calls[0].json == {"id": "k", "a": inner, "list": [None, None]}


def test_a_removal_sends_nulls_even_where_nulls_are_left_out(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200))
    results = load(simple(receiver.url, omit_nulls=True), [change("k", operation="remove", held=HELD)])
    assert receiver.calls[0].json == {"key": "k", "segment": None, "value": None, "as_of": None}
    assert results["k"].held == {"segment": None, "value": None, "as_of": None}


def test_removals_that_the_receiver_does_not_take_are_skipped_with_a_reason(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200))
    destination = simple(receiver.url, removals="skip")
    results = load(destination, [change("k", operation="remove", held=HELD)])
    assert (outcomes(results), receiver.calls) == ({"k": ("skipped", "the receiver takes no removals")}, [])
    assert destination.estimate(0, 0, 50).requests == 0


def test_a_removal_can_be_a_call_of_its_own(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(204))
    remove = {"url": f"{receiver.url}/people/{{key}}"}
    load(simple(receiver.url, remove=remove), [change("a b/ü?#%", operation="remove"), change("k")])
    by_method = {call.method: call for call in receiver.calls}
    assert by_method["DELETE"].path == "/people/a%20b%2F%C3%BC%3F%23%25"
    assert by_method["DELETE"].body == b""
    assert by_method["POST"].path == "/"


def test_removals_in_batches_have_a_template_and_an_envelope_of_their_own(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(202))
    remove = {"method": "POST", "url": f"{receiver.url}/gone", "template": "{key}", "rows_at": "ids", "envelope": {"why": "left"}}
    some = [change(f"k{number}", operation="remove") for number in range(3)]
    load(simple(receiver.url, per="batch", batch_rows=2, remove=remove), some)
    assert [call.json for call in receiver.calls] == [{"why": "left", "ids": ["k0", "k1"]}, {"why": "left", "ids": ["k2"]}]


@pytest.mark.parametrize("key", [".", ".."])
def test_a_key_never_leads_to_another_address(new_receiver: NewReceiver, key: str) -> None:
    receiver = new_receiver(Reply(200))
    results = load(simple(f"{receiver.url}/people/{{key}}", method="PUT"), [change(key), change("../admin")])
    assert results[key].outcome == "failed"
    assert [call.path for call in receiver.calls] == ["/people/..%2Fadmin"]


def test_who_a_record_is_stays_when_it_is_removed_and_has_to_be_known(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200))
    template = {"who": "{segment}", "phone": "{as_of}", "value": "{value:number}"}
    destination = simple(receiver.url, identifiers=["segment", "as_of"], template=template)
    some = [change("a", operation="remove", held=HELD), change("b", {"as_of": "1"}), change("c"), change("d", {"segment": None})]
    results = load(destination, some)
    assert [call.json for call in receiver.calls] == [
        {"who": "vip", "phone": "1", "value": "0.10"},
        {"who": "vip", "value": "0.10"},
        {"who": "old", "value": None},
    ], "an identifier without a value is left out, never cleared"
    assert results["a"].held == dict.fromkeys(SYNC.fields)
    assert results["d"].reason == "segment and as_of without a value: the receiver could not know who it is"


def test_a_null_that_keeps_what_is_held_is_never_sent_as_null(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200))
    sync = replace(SYNC, kept_when_null=("segment",))
    destination = simple(receiver.url, sync=sync)
    results = load(destination, [change("known", {"segment": None}, held=HELD), change("new", {"segment": None}, "create")])
    sent = {call.json["key"]: call.json for call in receiver.calls}
    assert sent["known"]["segment"] == "old"
    assert "segment" not in sent["new"]
    assert results["known"].held == {"segment": "old", "value": "0.10", "as_of": None}


# --- batches


def test_batches_hold_so_many_rows_and_bytes_and_not_one_more(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(202))
    envelope = {"data": {"kind": "import"}}
    shape = {
        "per": "batch",
        "rows_at": "data.rows",
        "envelope": envelope,
        "template": {"id": "{key}", "s": "{segment}", "v": ["{value}", "{as_of}"]},
    }
    load(simple(receiver.url, batch_rows=4, **shape), changes(9))
    assert [len(call.json["data"]["rows"]) for call in receiver.calls] == [4, 4, 1]
    whole = len(receiver.calls[0].body)
    receiver.calls.clear()

    fits = changes(4, fields={"segment": "é" * 300})
    load(simple(receiver.url, batch_rows=4, **shape), fits)
    exactly = len(receiver.calls[0].body)
    receiver.calls.clear()
    assert exactly > 2 * 4 * 300 > whole, "bytes are counted, not characters"
    load(simple(receiver.url, batch_rows=4, batch_bytes=exactly, **shape), fits)
    load(simple(receiver.url, batch_rows=4, batch_bytes=exactly - 1, **shape), fits)
    assert [len(call.json["data"]["rows"]) for call in receiver.calls] == [4, 3, 1]


def test_a_record_too_large_for_any_call_fails_alone_and_unsent(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(202))
    some = [change("small"), change("large", {"segment": "x" * 2_000})]
    for limit in ({"batch_bytes": 1_500}, {"row_bytes": 1_500}):
        results = load(simple(receiver.url, per="batch", **limit), some)
        assert (results["small"].outcome, results["large"].outcome) == ("succeeded", "failed")
        assert "more than the 1,500 that the receiver takes" in str(results["large"].reason)
    assert [[row["key"] for row in call.json] for call in receiver.calls] == [["small"], ["small"]]


def test_a_batch_goes_under_one_key_made_of_its_records_keys(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(202))
    destination = simple(receiver.url, per="batch", batch_rows=2, rows_at="rows", envelope={"job": "{idempotency_key}"})
    load(destination, changes(4))
    load(destination, changes(2))
    load(destination, changes(2, fields={"value": "7"}))
    keys = [call.headers["idempotency-key"] for call in receiver.calls]
    assert [call.json["job"] for call in receiver.calls] == keys
    assert {UUID(key).version for key in keys} == {5}
    assert keys[2] == keys[0], "the same content goes under the same key"
    assert len(set(keys)) == 3, "another content or other records go under another"


def test_a_record_alone_goes_under_its_own_key(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(202))
    load(simple(receiver.url, idempotency_header="X-Once"), [change("k")])
    assert receiver.calls[0].headers["x-once"] == change("k").idempotency_key


def test_a_batch_whose_refusal_names_no_record_is_halved_until_the_bad_ones_are_alone(new_rig: NewRig) -> None:
    rig = new_rig(refusing="silent", batch_rows=8)
    rig.refuse({"key-005", "key-011"})
    results = load(rig.destination(), changes(16))
    failed = {key: one.reason for key, one in results.items() if one.outcome != "succeeded"}
    assert failed == {"key-005": "refused with 400", "key-011": "refused with 400"}
    assert sorted(rig.held()) == sorted(set(results) - set(failed))
    # 8 -> 4+4 -> 2+2 -> 1+1: each level is one call for the good half and one for the bad.
    assert len(rig.writing_calls) == 2 * (1 + 2 + 2 + 2)


def test_records_that_a_refusal_names_fail_and_the_others_are_sent_again(new_rig: NewRig) -> None:
    rig = new_rig(refusing="all_named", batch_rows=8)
    rig.refuse({"key-000", "key-007"})
    results = load(rig.destination(), changes(8))
    assert {key: one.reason for key, one in results.items() if one.outcome != "succeeded"} == {
        "key-000": "refused with 422 (not_allowed)",
        "key-007": "refused with 422 (not_allowed)",
    }
    assert (len(rig.writing_calls), sorted(rig.held())) == (2, [f"key-{number:03}" for number in range(1, 7)])
    assert len({call.headers["idempotency-key"] for call in rig.writing_calls}) == 2


def test_records_that_an_accepting_answer_names_fail_alone(new_rig: NewRig) -> None:
    rig = new_rig(refusing="named", batch_rows=8)
    rig.refuse({"key-003"})
    results = load(rig.destination(), changes(8))
    assert [key for key, one in results.items() if one.outcome == "failed"] == ["key-003"]
    assert (len(rig.writing_calls), len(rig.held())) == (1, 7)


def test_errors_can_name_records_by_key(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200, {"failures": [{"record": {"id": "key-001"}, "why": "stale"}]}))
    row_errors = {"at": "failures", "key": "record.id", "code": "why"}
    results = load(simple(receiver.url, per="batch", row_errors=row_errors), changes(3))
    assert {key: one.reason for key, one in results.items() if one.outcome == "failed"} == {"key-001": "refused with 200 (stale)"}


@pytest.mark.parametrize(
    "body",
    [{"errors": [{"source": {"pointer": "/data"}}]}, {"errors": [{"source": {"pointer": "/rows/9"}}]}, {"errors": "many"}, b"<html>"],
)
def test_an_accepting_answer_whose_errors_name_nobody_leaves_all_unknown(new_receiver: NewReceiver, body: Any) -> None:
    receiver = new_receiver(Reply(200, body))
    row_errors = {"at": "errors", "pointer": "source.pointer", "pattern": "^/rows/([0-9]+)$"}
    results = load(simple(receiver.url, per="batch", row_errors=row_errors), changes(3))
    assert set(outcomes(results).values()) == {("unknown", "answered 200, with errors that name no record")}


def test_a_body_that_is_too_large_is_halved(new_rig: NewRig) -> None:
    rig = new_rig(batch_rows=8)
    destination = rig.destination()
    load(destination, changes(2))
    rig.too_large = len(rig.calls[-1].body)
    results = load(destination, [*changes(8), change("huge", {"segment": "x" * 900})])
    assert {key: one.reason for key, one in results.items() if one.outcome != "succeeded"} == {"huge": "refused with 413"}
    assert len(rig.held()) == 8


# --- what an answer means


@pytest.mark.parametrize(
    ("status", "given", "expected"),
    [
        (200, {}, ("succeeded", None, False)),
        (201, {}, ("succeeded", None, False)),
        (204, {"operation": "remove"}, ("succeeded", None, False)),
        (404, {}, ("skipped", "gone at the destination", True)),
        (410, {}, ("skipped", "gone at the destination", True)),
        (404, {"operation": "remove"}, ("succeeded", "was not there any more", False)),
        (404, {"expects": "present"}, ("skipped", "not at the destination", False)),
        (409, {"expects": "absent"}, ("skipped", "already there", False)),
        (412, {"expects": "absent"}, ("skipped", "already there", False)),
        (409, {}, ("failed", "refused with 409", False)),
        (400, {}, ("failed", "refused with 400", False)),
        (403, {}, ("failed", "refused with 403", False)),
        (422, {}, ("failed", "refused with 422", False)),
        (206, {}, ("unknown", "answered 206, which statuses.ok does not name", False)),
        (429, {}, ("failed", "answered 429 each time", False)),
        (503, {}, ("unknown", "answered 503 each time", False)),
    ],
)
def test_what_a_status_says_of_a_record_with_an_address_of_its_own(
    new_receiver: NewReceiver, status: int, given: Mapping[str, Any], expected: tuple[str, str | None, bool]
) -> None:
    receiver = new_receiver(Reply(status, None if status == 204 else {"message": "jane@example.com"}))
    destination = simple(f"{receiver.url}/people/{{key}}", method="PATCH", retries={"attempts": 2})
    result = load(destination, [change("k", **given)])["k"]
    assert (result.outcome, result.reason, result.is_gone) == expected
    assert (result.held is not None) == (result.outcome == "succeeded")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (301, "redirects are not followed"),
        (307, "redirects are not followed"),
        (401, "it wants to know who calls"),
        (404, "look whether url and method are right"),
        (405, "look whether url and method are right"),
        (501, "look whether the declaration is what the receiver takes"),
    ],
)
@pytest.mark.parametrize("per", ["row", "batch"])
def test_an_answer_that_is_no_records_fault_stops_the_push(new_receiver: NewReceiver, status: int, advice: str, per: str) -> None:
    elsewhere = new_receiver(Reply(200))
    receiver = new_receiver(Reply(status, None, {"Location": elsewhere.url}))
    results, message = load_until_stopped(simple(receiver.url, per=per, batch_rows=2), changes(6))
    assert advice in message
    assert f"answered {status}" in message
    assert {(one.outcome, one.reason) for one in results} == {("failed", f"refused with {status}")}
    assert (len(receiver.calls), elsewhere.calls) == (1, [])


def test_a_wrong_key_names_the_variable_and_not_what_it_holds(new_rig: NewRig) -> None:
    rig = new_rig()
    rig.environment["RIG_TOKEN"] = "wrong-0123456789abcdef"
    _, message = load_until_stopped(rig.destination(), changes(3))
    assert "look whether RIG_TOKEN, RIG_SECRET holds what the receiver knows" in message
    assert "wrong-" not in message


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("invalid_email", "refused with 422 (invalid_email)"),
        (1042, "refused with 422 (1042)"),
        ("jane@example.com", "refused with 422"),
        ("Jane", "refused with 422"),
        ("the value Jane is wrong", "refused with 422"),
        ({"a": 1}, "refused with 422"),
        ("x" * 60, "refused with 422"),
    ],
)
def test_of_an_answer_only_a_short_code_goes_on_and_never_a_value(new_receiver: NewReceiver, code: Any, told: str) -> None:
    error = {"at": {"pointer": "/0"}, "code": code, "detail": "Jane is wrong"}
    receiver = new_receiver(Reply(422, {"errors": [error]}))
    row_errors = {"at": "errors", "pointer": "at.pointer", "code": "code"}
    destination = simple(receiver.url, per="batch", row_errors=row_errors)
    assert load(destination, [change("k", {"segment": "jane"})])["k"].reason == told


# --- signatures


@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("timestamp_header", [None, "X-Timestamp"])
@pytest.mark.parametrize("per", ["row", "batch"])
def test_the_receiver_can_verify_the_bytes_it_was_sent(
    new_rig: NewRig, encoding: str, timestamp_header: str | None, per: Literal["row", "batch"]
) -> None:
    rig = new_rig(per=per, sign={**SIGN, "encoding": encoding, "timestamp_header": timestamp_header})
    some = [change("ключ/💛", {"segment": "naïve 日本語 \u2028 👩‍👩‍👧‍👦"}), change("gone", operation="remove", held=HELD)]
    results = load(rig.destination(), some)
    assert {one.outcome for one in results.values()} == {"succeeded"}
    assert rig.held()["ключ/💛"]["segment"] == "naïve 日本語 \u2028 👩‍👩‍👧‍👦"
    assert rig.unsigned == 0
    written = next(call for call in rig.writing_calls if "日本語".encode() in call.body)
    assert "naïve 日本語".encode() in written.body, "UTF-8 as it is, no escapes"


def test_a_signature_is_what_openssl_says_it_is() -> None:
    # printf '1700000000.{"a":"\xc3\xa9"}' | openssl dgst -sha256 -hmac whsecret
    sign = SignOptions(secret_env="HOOK_SECRET", header="X-Sig", prefix="v1=", timestamp_header="X-Time")
    made = signature(sign, "whsecret", '{"a":"é"}'.encode(), 1_700_000_000)
    assert made == {"X-Sig": "v1=58b88453a9217b43588fdc1f68ca07e754f4347390453c6ea0781f5f7a8b7fde", "X-Time": "1700000000"}


def test_a_call_that_is_sent_again_is_signed_anew(new_rig: NewRig) -> None:
    rig = new_rig(retries={"longest_wait_seconds": 1_000})
    rig.throttle(1)
    rig.retry_after = "900"
    results = load(rig.destination(), changes(2))
    assert ({one.outcome for one in results.values()}, rig.unsigned) == ({"succeeded"}, 0)
    first, second = (int(call.headers["x-timestamp"]) for call in rig.writing_calls)
    assert second - first >= 900, "the receiver refuses what is older than five minutes"


def test_what_was_changed_on_the_way_is_refused(new_rig: NewRig) -> None:
    rig = new_rig()
    destination = rig.destination()
    load(destination, changes(1))
    caught = rig.writing_calls[0]
    caught.headers.pop("content-length")
    for body, headers in ((caught.body + b" ", caught.headers), (caught.body, {**caught.headers, "x-timestamp": "1790001001"})):
        answer = httpx.post(f"{rig.receiver.url}/records", content=body, headers=headers, trust_env=False)
        assert answer.status_code == 401
    rig.clock.pause(301)
    replayed = httpx.post(f"{rig.receiver.url}/records", content=caught.body, headers=caught.headers, trust_env=False)
    assert replayed.status_code == 401, "and what is old"


# --- later, lost, and giving up


def test_retry_after_is_waited_for_by_all_calls(new_receiver: NewReceiver) -> None:
    clock = Clock()
    receiver = new_receiver(Reply(429, None, {"Retry-After": "7"}), Reply(200), clock=clock)
    destination = simple(receiver.url, clock)
    load(destination, changes(2))
    at = [call.at for call in receiver.calls]
    assert (at[1] - at[0], clock.pauses, destination.meter.throttled) == (7, [7], 1)


def test_retry_after_can_be_a_date(new_receiver: NewReceiver) -> None:
    clock = Clock()
    # The clock begins at 1,790,001,000 seconds.
    receiver = new_receiver(Reply(503, None, {"Retry-After": "Mon, 21 Sep 2026 14:30:10 GMT"}), Reply(200), clock=clock)
    load(simple(receiver.url, clock), changes(1))
    assert clock.pauses == [10.0]


def test_without_retry_after_the_pauses_double_up_to_their_cap(new_receiver: NewReceiver) -> None:
    clock = Clock()
    receiver = new_receiver(Reply(503), clock=clock)
    destination = simple(receiver.url, clock, retries={"attempts": 6, "base_seconds": 1, "cap_seconds": 5})
    load(destination, changes(1))
    assert (clock.pauses, len(receiver.calls)) == ([1, 2, 4, 5, 5], 6)


def test_a_wait_longer_than_a_push_waits_stops_it(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(429, None, {"Retry-After": "3600"}))
    results, message = load_until_stopped(simple(receiver.url), changes(4))
    assert "asks to wait 3,600 seconds, longer than the 120 that a push waits" in message
    assert [(one.outcome, one.reason) for one in results] == [("failed", "answered 429")]
    assert len(receiver.calls) == 1


def test_three_calls_in_a_row_without_an_answer_end_the_push(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(None)
    results, message = load_until_stopped(simple(receiver.url), changes(9))
    assert "3 calls in a row got no answer of use" in message
    assert [one.outcome for one in results] == ["unknown"] * 3
    assert len(receiver.calls) == 3, "a POST that may have been taken is not sent again"


def test_an_answer_in_between_begins_the_count_anew(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(None, None, Reply(200), None, None, Reply(200))
    results = load(simple(receiver.url), changes(8))
    assert sorted(one.outcome for one in results.values()) == ["succeeded"] * 4 + ["unknown"] * 4


def test_a_receiver_that_is_not_there_is_known_to_have_taken_nothing(new_receiver: NewReceiver) -> None:
    receiver = new_receiver(Reply(200))
    url = receiver.url
    receiver.close()
    receiver.close = lambda: None  # type: ignore[method-assign]
    destination = simple(url, retries={"attempts": 2})
    assert "cannot be reached, nothing answers there" in destination.problems()[0]
    results, message = load_until_stopped(destination, changes(5))
    assert {(one.outcome, one.reason) for one in results} == {("failed", "not reached (ConnectError)")}
    assert "not reached (ConnectError)" in message
    assert destination.meter.requests == 6


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", [{"repeatable": True}, {"per": "row"}])
def test_a_lost_call_is_sent_again_under_the_same_key_where_that_does_no_harm(
    new_rig: NewRig, when: Literal["before", "after"], how: dict[str, Any]
) -> None:
    rig = new_rig(**how)
    rig.cut(when)
    results = load(rig.destination(), changes(1))
    assert (results["key-000"].outcome, rig.writes) == ("succeeded", 2)
    keys = [call.headers["idempotency-key"] for call in rig.writing_calls]
    assert (len(keys), len(set(keys))) == (2, 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_call_that_may_do_harm_is_not_sent_again(new_rig: NewRig, when: Literal["before", "after"]) -> None:
    rig = new_rig()
    rig.cut(when)
    results = load(rig.destination(), changes(2))
    assert {(one.outcome, one.reason) for one in results.values()} <= {
        ("unknown", "no answer (RemoteProtocolError)"),
        ("unknown", "no answer (ReadError)"),
    }
    assert (len(rig.writing_calls), len(rig.effects)) == (1, int(when == "after"))


def test_what_cannot_be_read_back_is_sent_again_by_the_next_run_under_the_same_key(new_rig: NewRig, tmp_path: Path) -> None:
    rig = new_rig(read=None)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    desired = pl.DataFrame({"record_key": rig.keys(3), "segment": ["a", "b", "c"], "value": ["1", "2", "3"], "as_of": [None] * 3})
    desired = desired.with_columns(pl.col("as_of").cast(pl.String))
    rig.cut("after")
    reports = []
    for _ in range(2):
        with Ledger(url) as ledger:
            reports.append(push(rig.sync, desired, ledger, rig.destination()))
    assert [(one.succeeded, one.failed) for one in reports] == [(0, 3), (3, 0)]
    assert len({call.headers["idempotency-key"] for call in rig.writing_calls}) == 1
    assert rig.writes == 6


# --- pace


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_receiver_that_counts_in_windows_never_says_later(new_rig: NewRig, concurrency: int) -> None:
    rig = new_rig(per="row", limits=[(5, 1.0), (40, 60.0)], rate={"per_second": 5, "per_minute": 40}, concurrency=concurrency)
    destination = rig.destination()
    results = load(destination, changes(120))
    assert {one.outcome for one in results.values()} == {"succeeded"}
    assert (destination.meter.throttled, rig.throttled, len(rig.calls)) == (0, 0, 120)
    if concurrency == 1:
        # 40 at 5 a second, the window, 40 more, the window, the last 40.
        assert rig.calls[-1].at - rig.calls[0].at == pytest.approx(2 * 60 + 7), "and the rate is used"


def test_no_period_of_a_window_holds_more_calls_than_allowed_however_unevenly_they_travel() -> None:
    clock = Clock()
    pace = Pace(RateOptions(per_second=10, per_minute=150), clock.now, clock.pause)
    counted = []
    for number in range(400):
        with pace.call():
            # The receiver counts it somewhere on its way.
            clock.pause(0.3 if number % 10 == 0 else 0.001)
            counted.append(clock.now())
            clock.pause(0.02 if number % 7 else 0.4)
    for start in counted:
        assert sum(start <= moment < start + 1 for moment in counted) <= 10
        assert sum(start <= moment < start + 60 for moment in counted) <= 150


def test_calls_in_flight_hold_their_tokens_until_they_are_answered() -> None:
    clock = Clock()
    pace = Pace(RateOptions(per_second=2), clock.now, clock.pause)
    entered, may_end = threading.Semaphore(0), threading.Event()

    def call() -> None:
        with pace.call():
            entered.release()
            may_end.wait(60)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=60)
    assert entered.acquire(timeout=60)
    clock.pause(1_000)
    assert not entered.acquire(blocking=False), "the third waits, however much time passes"
    may_end.set()
    for thread in threads:
        thread.join(60)
    assert (entered.acquire(blocking=False), clock.now()) == (True, 1_000 + 1_000 + 1)


def test_an_estimate_knows_the_rate(new_rig: NewRig) -> None:
    rig = new_rig(rate={"per_minute": 60}, batch_rows=10, read=None)
    estimate = rig.destination().estimate(95, 10, 11)
    assert (estimate.path, estimate.requests, estimate.reads_new, estimate.chunk_rows) == ("batches", 13, False, 20)
    assert estimate.seconds == pytest.approx(13.0, rel=0.01)


# --- secrets


SECRETS = (TOKEN, SECRET)


def test_secrets_are_in_no_log_error_result_or_repr(new_rig: NewRig, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    rig = new_rig(per="row", refusing="silent", read=None)
    destination = rig.destination()
    rig.refuse({"key-001"})
    told = [repr(load(destination, changes(3))), repr(destination), repr(rig.target), str(rig.target.model_dump()), repr(vars(destination))]
    # A header that cannot be sent: the library's error quotes it.
    rig.environment["RIG_TOKEN"] = f"{TOKEN}\r\nX-Evil: 1"
    told += [str(rig.destination().problems())]
    desired = pl.DataFrame({"record_key": ["jane@example.com"], "segment": ["a"], "value": ["1"], "as_of": ["2026-01-01"]})
    rig.environment["RIG_TOKEN"] = TOKEN
    rig.cut("before", 99)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        push(rig.sync, desired, ledger, rig.destination())
    told += [
        str(frame.to_dicts())
        for name, frame in ledger_frames(f"sqlite:///{tmp_path / 'ledger.sqlite'}").items()
        if name != "activation_state"
    ]
    for text in (*told, caplog.text):
        assert not [secret for secret in SECRETS if secret in text]
    assert "127.0.0.1" in caplog.text, "calls are logged"
    assert "/records/" not in caplog.text, "but no key in an address"


def test_a_header_that_cannot_be_sent_fails_without_being_told(new_rig: NewRig) -> None:
    rig = new_rig(sign=None)
    rig.environment["RIG_TOKEN"] = f"{TOKEN}\r\nX-Evil: 1"
    destination = rig.destination()
    assert destination.problems() == ["what RIG_TOKEN holds cannot stand in a header (a line break, or no ASCII): correct it"]
    with pytest.raises(DestinationUnavailableError) as stopped:
        list(destination.load(changes(20), "rows"))
    assert TOKEN not in "".join(traceback.format_exception(stopped.value))
    assert rig.calls == []


def test_a_missing_secret_is_named_before_anything_is_sent(new_rig: NewRig, tmp_path: Path) -> None:
    rig = new_rig()
    rig.environment.clear()
    destination = rig.destination()
    assert [problem.split(" is not set")[0] for problem in destination.problems()] == [
        "the environment variable RIG_TOKEN",
        "the environment variable RIG_SECRET",
    ]
    with pytest.raises(DestinationError, match="RIG_TOKEN is not set"):
        destination.prepare()
    with pytest.raises(DestinationError, match="RIG_TOKEN is not set"):
        list(destination.load(changes(1), "rows"))
    assert rig.calls == []


# --- before, and reading


def test_a_probe_tells_before_a_push_whether_the_receiver_knows_us(new_rig: NewRig) -> None:
    rig = new_rig(probe={"url": "@/records/none", "ok": [404]})
    assert rig.destination().problems() == []
    rig.environment["RIG_TOKEN"] = "another"
    assert rig.destination().problems()[0].startswith(f"{rig.receiver.url.removeprefix('http://')}: the probe was answered with 401")


def test_a_host_that_is_not_known_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    destination = simple("https://nowhere.invalid/hook")
    (problem,) = destination.problems()
    assert problem.startswith("nowhere.invalid:443 cannot be reached")


@pytest.mark.parametrize(
    ("mode", "options", "is_fine"),
    [
        ("update_only", {"per": "batch"}, False),
        ("insert_only", {"per": "batch"}, False),
        ("insert_only", {}, True),
        ("update_only", {"method": "PUT", "address": "/{key}"}, False),
        ("update_only", {"method": "PATCH", "address": "/{key}"}, True),
        ("mirror", {"per": "batch"}, True),
    ],
)
def test_modes_that_have_to_know_what_is_there_need_a_way_to(
    new_receiver: NewReceiver, mode: Any, options: Mapping[str, Any], is_fine: bool
) -> None:
    given = dict(options)
    url = new_receiver(Reply(200)).url + given.pop("address", "")
    found = simple(url, sync=replace(SYNC, mode=mode), **given).problems()
    assert bool(found) != is_fine
    assert all("declare `read`" in problem for problem in found)


def test_what_is_read_is_in_the_form_in_which_it_is_compared(new_receiver: NewReceiver) -> None:
    body = b'{"d":{"name":"J","price":12.50,"age":7,"vip":true,"likes":{"a":1.5},"labels":["B","a "],"at":null,"list":[{"x":"y"}]}}'
    receiver = new_receiver(Reply(200, body), Reply(404))
    types = {
        "name": "text",
        "price": "money",
        "age": "integer",
        "vip": "boolean",
        "likes": "json",
        "labels": "tags",
        "at": "date",
        "first": "text",
    }
    fields = tuple(DeclaredField(name=name, type=type_) for name, type_ in types.items())  # type: ignore[arg-type]
    paths = {name: f"d.{name}" for name in types} | {"first": "d.list.0.x"}
    sync = Sync("http", "all", mapped=tuple(types))
    destination = simple(
        receiver.url, fields=fields, sync=sync, read={"url": f"{receiver.url}/{{key}}", "fields": paths}, statuses={"ok": [202]}
    )
    (_, held), (_, missing) = destination.read(["a", "b"])
    assert held == {
        "name": "J",
        "price": "12.5",
        "age": "7",
        "vip": "true",
        "likes": '{"a":1.5}',
        "labels": "a,b",
        "at": None,
        "first": "y",
    }
    assert missing == dict.fromkeys(types)


@pytest.mark.parametrize("reply", [Reply(403), Reply(200, b"<html>"), Reply(302, None, {"Location": "/"})])
def test_an_answer_that_is_not_as_declared_is_no_empty_record(new_receiver: NewReceiver, reply: Reply) -> None:
    receiver = new_receiver(reply)
    destination = simple(receiver.url, read={"url": f"{receiver.url}/{{key}}", "fields": READ})
    with pytest.raises(DestinationError, match=rf"answered with {reply.status}, not with its JSON"):
        list(destination.read(["a"]))


def test_reading_what_cannot_be_read_says_what_to_declare(new_receiver: NewReceiver) -> None:
    destination = simple(new_receiver(Reply(200)).url)
    assert not destination.can_read
    assert not destination.estimate(5, 0, 0).reads_new
    with pytest.raises(DestinationError, match="declare `read` in the target of audience"):
        list(destination.read(["a"]))


# --- whole pushes with an address a record


def test_a_record_a_call_goes_through_a_whole_push(new_rig: NewRig, tmp_path: Path) -> None:
    rig = new_rig(per="row")
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"

    def pushed(rows: Mapping[str, str]) -> tuple[int, int]:
        frame = pl.DataFrame([{"record_key": key, "segment": value, "value": "1.5", "as_of": "2026-11-28"} for key, value in rows.items()])
        with Ledger(url) as ledger:
            report = push(rig.sync, frame, ledger, rig.destination())
        return report.succeeded, report.failed

    assert pushed({"a/1": "new", "b 2": "new", "c": "new"}) == (3, 0)
    assert pushed({"a/1": "vip", "b 2": "new"}) == (2, 0)
    assert rig.held() == {
        "a/1": {"segment": "vip", "value": "1.5", "as_of": "2026-11-28"},
        "b 2": {"segment": "new", "value": "1.5", "as_of": "2026-11-28"},
    }
    assert sorted(call.method for call in rig.writing_calls) == ["DELETE", *["PUT"] * 4]


def test_a_push_that_is_stopped_tells_why_and_the_next_one_goes_on(new_rig: NewRig, tmp_path: Path) -> None:
    rig = new_rig(concurrency=1)
    frame = pl.DataFrame([{"record_key": key, "segment": "a", "value": "1", "as_of": "2026-11-28"} for key in rig.keys(20)])
    rig.cut("before", 3)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        with pytest.raises(PushInterruptedError, match="3 calls in a row got no answer of use"):
            push(rig.sync, frame, ledger, rig.destination())
        report = push(rig.sync, frame, ledger, rig.destination())
    assert (report.status, len(rig.held())) == ("succeeded", 20)


def test_a_cut_off_answer_is_no_json_and_no_error(new_receiver: NewReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_assets.activation.destinations.http_wire.MAX_ANSWER_BYTES", 1_000)
    receiver = new_receiver(Reply(200, {"errors": [], "rest": "x" * 5_000}))
    destination = simple(receiver.url, per="batch", row_errors={"at": "errors", "pointer": "source"})
    assert {one.outcome for one in load(destination, changes(2)).values()} == {"unknown"}
