"""Bulk operations: started once, waited for, whole or refused, cancelled when nobody waits."""

import json

import httpx
import pytest
from graphql import parse
from hypothesis import given
from hypothesis import strategies as st
from shopify_fakes import BulkShop, Clock, Storage, client_of, completed

from commerce_assets.sources.shopify.bulk import BulkOptions, read_mutation_lines, run_mutation, run_query, with_filter
from commerce_assets.sources.shopify.client import document
from commerce_assets.sources.shopify.errors import (
    BulkCanceledError,
    BulkExpiredError,
    BulkFailedError,
    BulkRejectedError,
    BulkResultError,
    BulkSlotError,
    BulkTimeoutError,
    TruncatedDownloadError,
)

QUERY = "{ orders { edges { node { id } } } }"
BODY = b'{"id":"gid://shopify/Order/1"}\n{"id":"gid://shopify/Order/2"}\n'
BUSY = [{"field": None, "code": "OPERATION_IN_PROGRESS", "message": "A bulk query operation for this app and shop is already in progress"}]


def run(shop: BulkShop, folder, clock: Clock | None = None, told: list[str] | None = None, **options):
    client = client_of(shop, clock or Clock())
    return run_query(
        client, QUERY, folder, label="orders", progress=(told if told is not None else []).append, options=BulkOptions(**options)
    )


def failed(code: str | None = None, status: str = "FAILED", partial: bool = True) -> dict:
    return {
        "status": status,
        "errorCode": code,
        "objectCount": "1",
        "partialDataUrl": "https://storage.example/partial" if partial else None,
    }


def test_a_result_is_fetched_whole_with_the_shops_own_counts(tmp_path):
    told: list[str] = []
    result = run(BulkShop([completed(BODY, roots=1)], Storage(BODY)), tmp_path, told=told)
    assert [file.name for file in result.written.files] == ["part-00000.jsonl"]
    assert result.written.files[0].read_bytes() == BODY
    assert (result.operation.object_count, result.operation.root_object_count, result.written.lines) == (2, 1, 2)
    assert "2 objects ready" in told[0]
    assert "hush" not in repr(result)


def test_no_result_is_no_files(tmp_path):
    result = run(BulkShop([completed(b"")]), tmp_path)
    assert result.written.files == ()
    assert result.operation.object_count == 0


def test_objects_without_a_file_are_a_contradiction(tmp_path):
    with pytest.raises(BulkResultError, match="5 objects but has no result file"):
        run(BulkShop([{"status": "COMPLETED", "objectCount": "5"}]), tmp_path)


def test_a_truncated_result_is_not_accepted(tmp_path):
    with pytest.raises(TruncatedDownloadError):
        run(BulkShop([completed(BODY)], Storage(BODY[:20])), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_expired_address_is_read_from_the_operation_again(tmp_path):
    shop = BulkShop([completed(BODY)], Storage(BODY, troubles=[httpx.Response(403)]))
    assert run(shop, tmp_path).written.files[0].read_bytes() == BODY
    assert shop.looks["gid://shopify/BulkOperation/0"] == 3


def test_a_failed_operation_is_run_once_more(tmp_path):
    told: list[str] = []
    shop = BulkShop([failed("INTERNAL_SERVER_ERROR"), completed(BODY)], Storage(BODY))
    assert run(shop, tmp_path, told=told).written.lines == 2
    assert "running the operation again" in told[0]


def test_partial_data_is_kept_aside_and_never_accepted(tmp_path):
    shop = BulkShop([failed("TIMEOUT"), failed("TIMEOUT")], Storage(b'{"id":1}\n{"i'))
    with pytest.raises(BulkFailedError, match="ask for a shorter range") as caught:
        run(shop, tmp_path)
    assert caught.value.error_code == "TIMEOUT"
    assert [file.read_bytes() for file in caught.value.partial_files] == [b'{"id":1}\n{"i']
    assert not list(tmp_path.glob("part-*"))
    assert caught.value.partial_files[0].parent == tmp_path / "partial"


@pytest.mark.parametrize(
    ("end", "kind", "text"),
    [
        (failed("ACCESS_DENIED", partial=False), BulkFailedError, "commerce doctor"),
        (failed(None, "CANCELED"), BulkCanceledError, "CANCELED"),
        (failed(None, "EXPIRED", partial=False), BulkExpiredError, "EXPIRED"),
    ],
)
def test_other_ends_are_named(tmp_path, end, kind, text):
    shop = BulkShop([end], Storage(b""))
    with pytest.raises(kind, match=text):
        run(shop, tmp_path)
    assert shop.cancelled == []


def test_a_refused_document_is_named(tmp_path):
    shop = BulkShop([])
    shop.refusals = [[{"field": ["query"], "code": "INVALID", "message": "Bulk queries must contain at least one connection."}]]
    with pytest.raises(BulkRejectedError, match="INVALID: Bulk queries must contain") as caught:
        run(shop, tmp_path)
    assert caught.value.codes == ("INVALID",)


def test_others_operations_are_waited_for(tmp_path):
    shop, clock, told = BulkShop([completed(BODY)], Storage(BODY)), Clock(), []
    shop.refusals = [BUSY, [{"code": "LIMIT_REACHED", "message": "Bulk operations limit reached."}]]
    assert run(shop, tmp_path, clock, told).written.lines == 2
    assert clock.slept[:2] == [5.0, 5.0]
    assert told[0] == "orders: waiting, other bulk operations of this app hold every slot"


def test_waiting_for_others_has_an_end(tmp_path):
    shop = BulkShop([])
    shop.refusals = [BUSY] * 3
    with pytest.raises(BulkSlotError, match="already in progress"):
        run(shop, tmp_path, slot_seconds=-1)


def test_an_operation_that_takes_too_long_is_cancelled(tmp_path):
    shop = BulkShop([completed(BODY)])
    with pytest.raises(BulkTimeoutError, match="still RUNNING"):
        run(shop, tmp_path, operation_seconds=-1)
    assert shop.cancelled == ["gid://shopify/BulkOperation/0"]


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_leaving_while_it_runs_cancels_it(tmp_path, reason):
    shop = BulkShop([completed(BODY)])

    class Interrupting(Clock):
        def sleep(self, seconds: float) -> None:
            raise reason

    with pytest.raises(reason):
        run(shop, tmp_path, Interrupting())
    assert shop.cancelled == ["gid://shopify/BulkOperation/0"]


def test_leaving_after_its_end_cancels_nothing(tmp_path):
    shop = BulkShop([completed(BODY)], Storage(BODY[:5]))
    with pytest.raises(TruncatedDownloadError):
        run(shop, tmp_path)
    assert shop.cancelled == []


def test_a_start_whose_answer_was_lost_is_found_and_not_repeated(tmp_path):
    shop = BulkShop([completed(BODY)], Storage(BODY))
    shop.silent_starts = 1
    assert run(shop, tmp_path).written.lines == 2
    assert len(shop.starts) == 1


def test_a_start_that_never_arrived_is_sent_again(tmp_path):
    shop = BulkShop([completed(BODY)], Storage(BODY))
    shop.lost_starts = 1
    assert run(shop, tmp_path).written.lines == 2
    assert len(shop.starts) == 1


def test_a_cut_poll_is_repeated(tmp_path):
    shop, cut = BulkShop([completed(BODY)], Storage(BODY)), [httpx.Response(502), httpx.Response(200, text="<")]

    def flaky(request: httpx.Request) -> httpx.Response:
        if b"bulkOperation(" in request.content and cut:
            return cut.pop()
        return shop(request)

    assert run(flaky, tmp_path).written.lines == 2


def test_a_rerun_replaces_what_an_earlier_one_left(tmp_path):
    (tmp_path / "part-00003.jsonl").write_bytes(b"old\n")
    (tmp_path / "part-00000.jsonl.tmp").write_bytes(b"half")
    run(BulkShop([completed(BODY)], Storage(BODY)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.jsonl"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_search_text_survives_the_way_into_the_document(search):
    query = with_filter(document("orders_bulk"), search)
    arguments = parse(query).definitions[0].selection_set.selections[0].arguments
    assert next(argument.value.value for argument in arguments if argument.name.value == "query") == search


def test_a_document_without_a_mark_takes_no_filter():
    with pytest.raises(ValueError, match="__FILTER__"):
        with_filter(QUERY, "id:1")


MUTATION = "mutation Call($tags: [String!]!) { tagsAdd(id: 1, tags: $tags) { userErrors { message } } }"


def result_lines(count: int) -> bytes:
    # as recorded: slashes are escaped, lines come in no order
    return b"".join(
        b'{"data":{"tagsAdd":{"node":{"id":"gid:\\/\\/shopify\\/Customer\\/%d"},"userErrors":[]}},"__lineNumber":%d}\n' % (line, line)
        for line in reversed(range(count))
    )


def test_a_bulk_mutation_says_what_became_of_each_row(tmp_path):
    body = result_lines(2) + b'{"errors":[{"message":"boom"}],"__lineNumber":2}\n'
    shop = BulkShop([completed(body)], Storage(body))
    rows = [{"tags": [f"é{number}"]} for number in range(3)]
    lines = list(run_mutation(client_of(shop), MUTATION, rows, tmp_path, label="tags", progress=print))
    assert [line.line for line in lines] == [1, 0, 2]
    assert lines[0].data == {"tagsAdd": {"node": {"id": "gid://shopify/Customer/1"}, "userErrors": []}}
    assert lines[2].errors == ({"message": "boom"},)
    assert '{"tags":["é2"]}\n'.encode() in shop.uploads[0]
    assert shop.uploads[0].index(b'name="key"') < shop.uploads[0].index(b'name="file"')


def test_rows_beyond_the_size_of_a_file_go_into_the_next_operation(tmp_path):
    body = result_lines(2)
    shop = BulkShop([completed(body), completed(body)], Storage(body))
    rows = [{"tags": [str(number)]} for number in range(4)]
    lines = list(run_mutation(client_of(shop), MUTATION, iter(rows), tmp_path, label="tags", progress=print, max_input_bytes=30))
    assert sorted(line.line for line in lines) == [0, 1, 2, 3]
    assert len(shop.uploads) == 2


def test_no_rows_start_nothing(tmp_path):
    assert list(run_mutation(client_of(BulkShop([])), MUTATION, [], tmp_path, label="tags", progress=print)) == []


def test_missing_results_are_an_error(tmp_path):
    body = result_lines(1)
    with pytest.raises(BulkResultError, match="2 rows were sent, but 1 results"):
        list(
            run_mutation(client_of(BulkShop([completed(body)], Storage(body))), MUTATION, [{}, {}], tmp_path, label="tags", progress=print)
        )


def test_a_failed_mutation_is_not_run_again_and_tells_what_was_applied(tmp_path):
    body = result_lines(1)
    shop = BulkShop([failed("INTERNAL_SERVER_ERROR")], Storage(body))
    with pytest.raises(BulkFailedError) as caught:
        list(run_mutation(client_of(shop), MUTATION, [{}, {}], tmp_path, label="tags", progress=print))
    assert len(shop.starts) == 1
    assert [line.line for line in read_mutation_lines(caught.value.partial_files)] == [0]


def test_trouble_with_the_staged_file_is_tried_again(tmp_path):
    body = result_lines(1)
    shop = BulkShop([completed(body)], Storage(body))
    shop.refusals = [[{"code": "NO_SUCH_FILE", "message": "The JSONL file could not be found."}]]
    assert len(list(run_mutation(client_of(shop), MUTATION, [{}], tmp_path, label="tags", progress=print))) == 1
    assert len(shop.uploads) == 2


def test_a_line_that_is_no_result_is_an_error(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"data": {}}) + "\n")
    with pytest.raises(BulkResultError, match=r"x\.jsonl"):
        list(read_mutation_lines([path]))
