"""A result arrives whole, in newline-aligned parts, over any number of cut connections, or not at all."""

from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shopify_fakes import Clock, CutStream, Storage, client_of

from commerce_assets.sources.shopify.download import PartWriter, Written, download
from commerce_assets.sources.shopify.errors import DownloadError, ExpiredUrlError, TruncatedDownloadError

BODY = b"".join(b'{"id":"gid://shopify/Order/%d"}\n' % number for number in range(40))
SIGNED = "https://storage.example/file?Signature=hush"


def fetch(storage: Storage, folder: Path, expected: int | None = len(BODY), **options) -> Written:
    told: list[str] = options.pop("told", [])
    return download(
        client_of(storage, Clock()),
        SIGNED,
        folder,
        "part",
        expected_bytes=expected,
        fresh_url=options.pop("fresh_url", lambda: None),
        label="orders",
        progress=told.append,
        part_bytes=options.pop("part_bytes", 200),
    )


def content(written: Written) -> bytes:
    return b"".join(file.read_bytes() for file in written.files)


@given(
    body=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=40),
    ends=st.booleans(),
    chunk=st.integers(1, 50),
    size=st.integers(1, 80),
)
def test_parts_end_at_newlines_and_hold_every_byte(tmp_path_factory, body, ends, chunk, size):
    folder = tmp_path_factory.mktemp("parts")
    data = b"\n".join(body) + (b"\n" if ends and body else b"")
    with PartWriter(folder, "part", size) as writer:
        for at in range(0, len(data), chunk):
            writer.write(data[at : at + chunk])
        written = writer.commit()
    assert content(written) == data
    assert all(file.read_bytes().endswith(b"\n") for file in written.files[:-1])
    assert written.lines == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert written.bytes == len(data)
    longest = max((len(line) + 1 for line in data.split(b"\n")), default=0)
    assert all(file.stat().st_size < size + longest for file in written.files)
    assert not list(folder.glob("*.tmp"))


def test_an_exception_leaves_nothing(tmp_path):
    def interrupted() -> None:
        with PartWriter(tmp_path, "part", 10) as writer:
            writer.write(b"abc\n" * 10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_new_attempt_starts_from_nothing(tmp_path):
    for name in ("part-00000.jsonl", "part-00007.jsonl", "part-00001.jsonl.tmp", "other.jsonl"):
        (tmp_path / name).write_text("old\n")
    written = fetch(Storage(b"new\n"), tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.jsonl", "part-00000.jsonl"]
    assert content(written) == b"new\n"


def test_cut_connections_are_resumed_by_range(tmp_path):
    storage, told = Storage(BODY, cuts=[100, 333, 1]), []
    written = fetch(storage, tmp_path, told=told)
    assert content(written) == BODY
    assert written.lines == 40
    assert [request.headers.get("Range") for request in storage.requests] == [None, "bytes=100-", "bytes=433-", "bytes=434-"]
    assert storage.requests[1].headers["If-Range"] == '"v1"'
    assert storage.requests[0].headers["Accept-Encoding"] == "identity"
    assert "cut after 100 bytes" in told[0]
    assert "hush" not in "".join(told)


@given(cuts=st.lists(st.integers(1, 400), max_size=8), resumes=st.booleans(), etag=st.sampled_from([None, '"v1"', 'W/"v1"']))
def test_any_cuts_give_the_same_file(tmp_path_factory, cuts, resumes, etag):
    # a host that cannot resume must get further each time, or there is no end to it
    cuts = cuts if resumes else sorted(set(cuts))[:3]
    written = fetch(Storage(BODY, cuts=cuts, resumes=resumes, etag=etag), tmp_path_factory.mktemp("cut"))
    assert content(written) == BODY


def test_a_connection_that_brings_nothing_gives_up(tmp_path):
    with pytest.raises(DownloadError, match="no progress in 4 attempts"):
        fetch(Storage(BODY, cuts=[0] * 9), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_short_file_is_truncated_and_kept_nowhere(tmp_path):
    with pytest.raises(TruncatedDownloadError, match=r"1,000 bytes arrived of a result of 1,[0-9]{3} bytes"):
        fetch(Storage(BODY[:1000]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_counts_the_escaped_form_is_whole_too(tmp_path):
    # recorded: fileSize 115969 for a result of 110139 bytes with 5,825 slashes and one ampersand
    body = b'{"id":"gid://shopify/Product/1","title":"Nuts & Bolts","note":"a\\/b"}\n'
    assert content(fetch(Storage(body), tmp_path, len(body) + 4 + 5)) == body
    with pytest.raises(TruncatedDownloadError):
        fetch(Storage(body), tmp_path, len(body) + 4)


def test_a_long_file_is_refused_too(tmp_path):
    with pytest.raises(TruncatedDownloadError):
        fetch(Storage(BODY + b"x"), tmp_path)


def test_without_a_size_the_end_is_the_end(tmp_path):
    assert content(fetch(Storage(BODY, cuts=[50]), tmp_path, expected=None)) == BODY


def test_a_cut_at_the_very_end_is_whole(tmp_path):
    assert content(fetch(Storage(BODY, cuts=[len(BODY)]), tmp_path, expected=None)) == BODY


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_expired_address_is_read_anew_and_the_rest_fetched(tmp_path, status):
    storage = Storage(BODY, cuts=[100])
    urls = iter(["https://storage.example/fresh"])

    def host(request: httpx.Request) -> httpx.Response:
        if len(storage.requests) >= 1 and request.url.path != "/fresh":
            return httpx.Response(status)
        return storage(request)

    written = fetch(host, tmp_path, fresh_url=lambda: next(urls))
    assert content(written) == BODY
    assert storage.requests[-1].headers["Range"] == "bytes=100-"


def test_addresses_that_stay_refused_are_an_error_without_the_address(tmp_path):
    for fresh in (None, SIGNED):
        with pytest.raises(ExpiredUrlError, match="run again") as caught:
            fetch(Storage(BODY, troubles=[httpx.Response(403)] * 9), tmp_path, fresh_url=lambda fresh=fresh: fresh)
        assert "hush" not in str(caught.value)


def test_trouble_at_the_storage_host_is_waited_for(tmp_path):
    troubles = [httpx.Response(503), httpx.Response(429, headers={"Retry-After": "3"})]
    assert content(fetch(Storage(BODY, troubles=troubles), tmp_path)) == BODY


def test_a_wrong_range_and_other_statuses_are_errors(tmp_path):
    wrong = httpx.Response(206, headers={"Content-Range": "bytes 7-9/10"}, stream=CutStream(b"abc", is_cut=False))
    with pytest.raises(DownloadError, match="wrong byte"):
        fetch(_Then(Storage(BODY, cuts=[100]), wrong), tmp_path)
    with pytest.raises(DownloadError, match="HTTP 302"):
        fetch(Storage(BODY, troubles=[httpx.Response(302)]), tmp_path)


class _Then:
    """The first answer from a storage, then a fixed one."""

    def __init__(self, storage: Storage, then: httpx.Response) -> None:
        self.storage, self.then = storage, then

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return self.then if self.storage.requests else self.storage(request)
