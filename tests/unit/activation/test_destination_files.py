"""Audience files: always whole, the same bytes for the same records, healed by the next run, and nothing of the removed left."""

import gzip
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from rigs.file import FIELDS, SYNC, FileRig, rows_of

from commerce_assets.activation.destinations import files_state
from commerce_assets.activation.destinations.files import FileDestination
from commerce_assets.activation.destinations.files_folder import LocalFolder
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Expectation, Fields, Operation, RowResult, Sync
from commerce_assets.activation.targets import DeclaredField, FileTarget

HASH = hashlib.sha256(b"somebody").hexdigest()
OTHER_HASH = hashlib.sha256(b"somebody else").hexdigest()
MARK = "a-value-nobody-else-has"


def change(key: str, fields: Fields | None, operation: Operation = "update", expects: Expectation = "any") -> Change:
    return Change(key, operation if fields else "remove", fields or {}, None, None, None, f"send-{key}", expects=expects)


def fields(segment: str | None, value: str | None = None, as_of: str | None = None) -> dict[str, str | None]:
    return {"segment": segment, "value": value, "as_of": as_of}


def load(destination: FileDestination, changes: Sequence[Change]) -> list[RowResult]:
    return list(destination.load(changes, "file"))


def push(destination: FileDestination, changes: Sequence[Change]) -> list[RowResult]:
    destination.prepare()
    results = load(destination, changes)
    destination.finish()
    return results


def manifest(rig: FileRig) -> dict[str, Any]:
    return json.loads((rig.folder / "audience.manifest.json").read_text())


def names(rig: FileRig) -> list[str]:
    return sorted(path.name for path in rig.folder.iterdir())


@pytest.fixture
def rig(tmp_path: Path) -> FileRig:
    return FileRig(tmp_path)


def test_what_was_loaded_is_in_the_file_when_the_run_has_finished(rig: FileRig) -> None:
    results = push(rig.destination(), [change("b", fields("vip", "1.5", "2026-11-28")), change("a", fields(None, "2"))])
    assert [(one.record_key, one.outcome, one.held) for one in results] == [
        ("b", "succeeded", fields("vip", "1.5", "2026-11-28")),
        ("a", "succeeded", fields(None, "2")),
    ]
    assert (rig.folder / "audience.csv").read_text() == "record_key,segment,value,as_of\na,,2,\nb,vip,1.5,2026-11-28\n"
    assert rig.held() == {"a": {"value": "2"}, "b": {"segment": "vip", "value": "1.5", "as_of": "2026-11-28"}}
    assert names(rig) == ["audience.csv", "audience.manifest.json"]


def test_the_manifest_says_what_lies_there_and_names_nobody(rig: FileRig) -> None:
    push(rig.destination(), [change("gid://shopify/Customer/1", fields(MARK))])
    written = manifest(rig)
    (part,) = written["parts"]
    content = (rig.folder / part["file"]).read_bytes()
    assert (part["rows"], part["bytes"], part["sha256"]) == (1, len(content), hashlib.sha256(content).hexdigest())
    assert (written["sync"], written["layout"], written["format"], written["rows"]) == ("audience", "plain", "csv", 1)
    assert written["columns"] == ["record_key", "segment", "value", "as_of"]
    text = (rig.folder / "audience.manifest.json").read_text()
    assert MARK not in text
    assert "Customer" not in text


def test_a_set_of_nobody_is_a_file_with_a_header(rig: FileRig) -> None:
    rig.destination().finish()
    assert (rig.folder / "audience.csv").read_text() == "record_key,segment,value,as_of\n"
    assert manifest(rig)["rows"] == 0


def test_read_tells_what_is_held_and_null_fields_for_what_is_not_there(rig: FileRig) -> None:
    assert dict(rig.destination().read(["a"])) == {"a": fields(None)}
    load(rig.destination(), [change("a", fields("vip")), change("c", fields("new"))])
    assert list(rig.destination().read(["b", "a"])) == [("b", fields(None)), ("a", fields("vip"))]


def test_updates_replace_all_fields_and_removals_take_the_row_away(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip", "1")), change("b", fields("new", "2"))])
    (first, second) = push(rig.destination(), [change("a", fields(None, "3")), change("b", None)])
    assert (first.held, second.held) == (fields(None, "3"), fields(None))
    assert rows_of(rig.folder / "audience.csv") == [{"record_key": "a", "segment": "", "value": "3", "as_of": ""}]


def test_loading_twice_has_no_further_effect(rig: FileRig) -> None:
    changes = [change("a", fields("vip")), change("b", None)]
    push(rig.destination(), changes)
    before, writes = (rig.folder / "audience.csv").stat().st_ino, rig.writes
    assert [one.outcome for one in push(rig.destination(), changes)] == ["succeeded", "succeeded"]
    assert (rig.folder / "audience.csv").stat().st_ino == before
    assert (writes, rig.writes) == (1, 1)


def test_an_unchanged_set_is_not_written_again(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip"))])
    before = {name: (rig.folder / name).stat().st_ino for name in names(rig)}
    destination = rig.destination()
    destination.finish()
    assert {name: (rig.folder / name).stat().st_ino for name in names(rig)} == before
    assert destination.meter.by_operation == {}


def test_a_carried_field_alone_is_not_written_unless_the_whole_is_asked_for(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip", "1", "2026-11-01"))])
    later = change("a", fields("vip", "1", "2026-12-01"))
    (result,) = push(rig.destination(), [later])
    assert (result.outcome, result.held) == ("succeeded", fields("vip", "1", "2026-11-01"))
    assert rig.held()["a"]["as_of"] == "2026-11-01"
    push(rig.destination(), [replace(later, is_whole=True)])
    assert rig.held()["a"]["as_of"] == "2026-12-01"


def test_a_null_leaves_a_field_that_keeps_what_is_held(rig: FileRig) -> None:
    sync = replace(SYNC, kept_when_null=("value",))
    destination = FileDestination(rig.target, FIELDS, sync, root=rig.folder.parent, state_dir=rig.state_dir)
    push(destination, [change("a", fields("vip", "1"))])
    (result,) = push(destination, [change("a", fields(None, None))])
    assert result.held == fields(None, "1")
    assert rig.held() == {"a": {"value": "1"}}


def test_changes_that_expect_something_else_are_skipped_with_their_reason(rig: FileRig) -> None:
    load(rig.destination(), [change("a", fields("vip"))])
    results = load(
        rig.destination(),
        [
            change("a", fields("x"), expects="absent"),
            change("b", fields("y"), expects="present"),
            change("c", fields("z"), expects="absent"),
        ],
    )
    assert {one.record_key: (one.outcome, one.reason) for one in results} == {
        "a": ("skipped", "already there"),
        "b": ("skipped", "not at the destination"),
        "c": ("succeeded", None),
    }
    assert rig.held() == {"a": {"segment": "vip"}, "c": {"segment": "z"}}


def test_a_bad_record_is_refused_without_its_value_and_stops_no_other(rig: FileRig) -> None:
    bad = [
        change("a", fields(f"{MARK}\x00")),
        change("b", fields(f"{MARK}\ud800")),
        change("", fields("vip")),
        change("\udfff", fields("vip")),
    ]
    results = push(rig.destination(), [*bad, change("d", fields("good"))])
    assert {one.record_key: one.outcome for one in results} == {
        "a": "failed",
        "b": "failed",
        "": "failed",
        "\udfff": "failed",
        "d": "succeeded",
    }
    assert not any(MARK in (one.reason or "") for one in results)
    assert rig.held() == {"d": {"segment": "good"}}


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_every_format_gives_back_what_was_written(tmp_path: Path, format: str) -> None:
    rig = FileRig(tmp_path, format=format)
    texts = [
        'say "hi"',
        "a,b;c",
        "two\nlines",
        "carriage\rreturn",
        "crlf\r\n",
        " space ",
        "Ünï 日本 🎉",
        "\u2028\x85\x0b",
        "\\back/",
        "'",
        "{}",
        "null",
    ]
    push(rig.destination(), [change(f"k{number:02d}", fields(text)) for number, text in enumerate(texts)])
    rows = rows_of(rig.folder / f"audience.{format}")
    assert [row["segment"] for row in rows] == texts


def test_null_is_empty_in_csv_absent_in_jsonl_and_null_in_parquet(tmp_path: Path) -> None:
    for format in ("csv", "jsonl", "parquet"):
        push(FileRig(tmp_path / format, format=format).destination(), [change("a", fields("", None, "x")), change("b", fields(None))])
    assert (tmp_path / "csv/exports/audience.csv").read_text().splitlines()[1:] == ['a,"",,x', "b,,,"]
    assert rows_of(tmp_path / "jsonl/exports/audience.jsonl") == [{"record_key": "a", "segment": "", "as_of": "x"}, {"record_key": "b"}]
    assert rows_of(tmp_path / "parquet/exports/audience.parquet") == [
        {"record_key": "a", "segment": "", "value": None, "as_of": "x"},
        {"record_key": "b", "segment": None, "value": None, "as_of": None},
    ]


def test_parquet_columns_are_all_text(tmp_path: Path) -> None:
    rig = FileRig(tmp_path, format="parquet")
    push(rig.destination(), [change("a", fields("vip", "1.50"))])
    schema = pq.read_schema(rig.folder / "audience.parquet")
    assert {name: str(schema.field(name).type) for name in schema.names} == dict.fromkeys(
        ["record_key", "segment", "value", "as_of"], "string"
    )


def test_without_key_and_with_one_field_no_row_is_lost(tmp_path: Path) -> None:
    target = FileTarget(folder=str(tmp_path), include_key=False)
    destination = FileDestination(
        target, FIELDS[:1], Sync("file", "audience", mapped=("segment",)), root=tmp_path, state_dir=tmp_path / "state"
    )
    push(destination, [change("a", {"segment": None}), change("b", {"segment": "vip"})])
    assert (tmp_path / "audience.csv").read_text() == 'segment\n""\nvip\n'


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|x", "'+cmd|x"),
        ("-", "'-"),
        ("\tx", "'\tx"),
        ("\r=x", '"\'\r=x"'),
        ("-12.5", "-12.5"),
        ("+491761234567", "+491761234567"),
        ("-1e-7", "-1e-7"),
        ("a=b", "a=b"),
        ("=a,b", '"\'=a,b"'),
    ],
)
def test_what_a_spreadsheet_would_run_is_escaped_and_numbers_are_not(tmp_path: Path, text: str, cell: str) -> None:
    rig = FileRig(tmp_path, escape_formulas=True)
    push(rig.destination(), [change("a", fields(text))])
    assert (rig.folder / "audience.csv").read_bytes().decode().partition("\n")[2] == f"a,{cell},,\n"


def test_the_same_records_give_the_same_bytes_in_any_order_of_writing(tmp_path: Path) -> None:
    changes = [change(f"k{number}", fields("vip", str(number), None)) for number in range(2_500)]
    for options in ({"format": "csv", "compression": "gzip"}, {"format": "jsonl", "compression": "gzip"}, {"format": "parquet"}):
        contents = []
        for order, some in enumerate((changes, changes[::-1])):
            rig = FileRig(tmp_path / f"{options['format']}{order}", **options)
            load(rig.destination(), some[:1_000])
            push(rig.destination(), some[1_000:])
            (part,) = manifest(rig)["parts"]
            contents.append((rig.folder / part["file"]).read_bytes())
        assert contents[0] == contents[1], options


def test_pages_join_without_a_seam(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_state, "PAGE_ROWS", 7)
    push(rig.destination(), [change(f"k{number:03d}", fields(str(number))) for number in range(50)])
    assert [row["segment"] for row in rows_of(rig.folder / "audience.csv")] == [str(number) for number in range(50)]


def test_gzip_is_read_by_gzip(tmp_path: Path) -> None:
    rig = FileRig(tmp_path, compression="gzip")
    push(rig.destination(), [change("a", fields("vip"))])
    assert names(rig) == ["audience.csv.gz", "audience.manifest.json"]
    assert gzip.decompress((rig.folder / "audience.csv.gz").read_bytes()) == b"record_key,segment,value,as_of\na,vip,,\n"


@pytest.mark.parametrize("options", [{"format": "csv"}, {"format": "jsonl", "compression": "gzip"}, {"format": "parquet"}])
def test_more_rows_than_a_file_may_have_make_parts_and_fewer_take_them_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setattr(files_state, "PAGE_ROWS", 4)
    rig = FileRig(tmp_path, max_rows_a_file=3, **options)
    push(rig.destination(), [change(f"k{number}", fields(str(number))) for number in range(8)])
    parts = manifest(rig)["parts"]
    assert [(part["file"].partition(".")[0], part["rows"]) for part in parts] == [
        ("audience-0001", 3),
        ("audience-0002", 3),
        ("audience-0003", 2),
    ]
    read = [row["segment"] for part in parts for row in rows_of(rig.folder / part["file"])]
    assert read == [str(number) for number in range(8)]
    push(rig.destination(), [change(f"k{number}", None) for number in range(2, 8)])
    assert [part["rows"] for part in manifest(rig)["parts"]] == [2]
    assert len(names(rig)) == 2


def test_another_format_takes_the_old_file_away_and_leaves_others_alone(tmp_path: Path) -> None:
    push(FileRig(tmp_path).destination(), [change("a", fields("vip"))])
    rig = FileRig(tmp_path, format="parquet")
    for other in ("audience.txt", "audience2.csv", "audience-old.csv", "xaudience.csv"):
        (rig.folder / other).write_text("somebody else's")
    rig.destination().finish()
    assert names(rig) == [
        "audience-old.csv",
        "audience.manifest.json",
        "audience.parquet",
        "audience.txt",
        "audience2.csv",
        "xaudience.csv",
    ]


def test_a_push_killed_before_it_finished_heals_with_the_next_though_it_has_nothing_to_write(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("old"))])
    load(rig.destination(), [change("a", fields("new")), change("b", fields("more"))])
    assert (rig.folder / "audience.csv").read_text().count("\n") == 2
    push(rig.destination(), [])
    assert [row["segment"] for row in rows_of(rig.folder / "audience.csv")] == ["new", "more"]


@pytest.mark.parametrize("survived", range(4))
def test_a_kill_between_any_two_files_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int) -> None:
    """Three parts and the manifest; also when the next run goes back to the records of before."""
    rig = FileRig(tmp_path, max_rows_a_file=1)
    olds, news = ([change(key, fields(f"{word}-{key}")) for key in "abc"] for word in ("old", "new"))
    push(rig.destination(), olds)
    place, placed = LocalFolder.place, []

    def killed(self: LocalFolder, made: Path, name: str, digest: str) -> None:
        if len(placed) == survived:
            raise KeyboardInterrupt
        placed.append(name)
        place(self, made, name, digest)

    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "place", killed)
        with pytest.raises(KeyboardInterrupt):
            push(rig.destination(), news)
    assert len(placed) == survived
    push(rig.destination(), olds)
    assert {key: held["segment"] for key, held in rig.held().items()} == {key: f"old-{key}" for key in "abc"}
    assert all((rig.folder / part["file"]).stat().st_size == part["bytes"] for part in manifest(rig)["parts"])


def test_of_what_a_killed_process_was_making_nothing_is_left(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip"))])
    (rig.folder / ".audience.rendering").mkdir()
    (rig.folder / ".audience.rendering" / "audience.csv").write_text(MARK)
    rig.destination().finish()
    assert names(rig) == ["audience.csv", "audience.manifest.json"]


def test_a_part_that_somebody_changed_or_took_away_is_put_back(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip"))])
    whole = (rig.folder / "audience.csv").read_text()
    for spoil in (lambda path: path.write_text(whole.replace("vip", "pig")), lambda path: path.unlink()):
        spoil(rig.folder / "audience.csv")
        rig.destination().finish()
        assert (rig.folder / "audience.csv").read_text() == whole


def test_a_reader_sees_one_whole_export_or_another(rig: FileRig) -> None:
    """He reads manifest and file as they come; where they do not fit he begins again, and nothing he opens is ever half."""
    rounds = 25
    sizes = [10 + 200 * (number % 2) for number in range(rounds)]
    destination = rig.destination()
    push(destination, [change(f"k{number:03d}", fields("round-0")) for number in range(210)])
    seen: list[tuple[int, set[str]]] = []
    fitting = 0
    done = threading.Event()

    def read() -> Iterator[bytes]:
        is_last = False
        while not is_last:
            is_last = done.is_set()
            yield (rig.folder / "audience.csv").read_bytes()

    def watch() -> None:
        nonlocal fitting
        for content in read():
            rows = content.decode().splitlines()[1:]
            seen.append((len(rows), {row.split(",")[1] for row in rows}))
            written = manifest(rig)
            fitting += written["parts"][0]["sha256"] == hashlib.sha256(content).hexdigest()

    reader = threading.Thread(target=watch)
    reader.start()
    try:
        for number, size in enumerate(sizes, start=1):
            wanted = [change(f"k{key:03d}", fields(f"round-{number}") if key < size else None) for key in range(210)]
            push(rig.destination(), wanted)
    finally:
        done.set()
        reader.join()
    allowed = {"round-0": 210} | {f"round-{number}": size for number, size in enumerate(sizes, start=1)}
    assert seen
    assert fitting
    for count, words in seen:
        assert [allowed[word] for word in words] == [count]


def test_of_a_removed_or_replaced_record_no_byte_is_left(rig: FileRig) -> None:
    push(rig.destination(), [change(f"{MARK}-key", fields(f"{MARK}-1")), *(change(f"k{n}", fields("x" * 50)) for n in range(500))])
    push(rig.destination(), [change(f"{MARK}-key", fields(f"{MARK}-2"))])
    everything = [path for folder in (rig.folder, rig.state_dir) for path in folder.rglob("*") if path.is_file()]
    assert any(f"{MARK}-2".encode() in path.read_bytes() for path in everything)
    assert not any(f"{MARK}-1".encode() in path.read_bytes() for path in everything)
    push(rig.destination(), [change(f"{MARK}-key", None)])
    everything = [path for folder in (rig.folder, rig.state_dir) for path in folder.rglob("*") if path.is_file()]
    assert not any(MARK.encode() in path.read_bytes() for path in everything)


def test_the_state_is_for_its_owners_eyes_only(rig: FileRig) -> None:
    load(rig.destination(), [change("a", fields("vip"))])
    assert (rig.state_dir / "audience.sqlite").stat().st_mode & 0o077 == 0


def test_a_lost_state_never_empties_the_file(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip"))])
    whole = (rig.folder / "audience.csv").read_text()
    (rig.state_dir / "audience.sqlite").unlink()
    (problem,) = rig.destination().problems()
    assert "made from another state" in problem
    assert "resync" in problem
    for attempt in (rig.destination().prepare, rig.destination().finish):
        with pytest.raises(DestinationError, match="another state"):
            attempt()
    load(rig.destination(), [change("b", fields("new"))])
    with pytest.raises(DestinationError, match="another state"):
        rig.destination().finish()
    assert (rig.folder / "audience.csv").read_text() == whole
    (rig.folder / "audience.manifest.json").unlink()
    push(rig.destination(), [change("a", fields("vip"))])
    assert rig.held() == {"a": {"segment": "vip"}, "b": {"segment": "new"}}


def test_another_syncs_file_is_not_replaced(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip"))])
    other = Sync("file", "second", mapped=SYNC.mapped, carried=SYNC.carried)
    target = rig.target.model_copy(update={"file": "audience"})
    second = FileDestination(target, FIELDS, other, root=rig.folder.parent, state_dir=rig.state_dir)
    assert "belongs to sync audience" in second.problems()[0]
    with pytest.raises(DestinationError, match="belongs to sync audience"):
        second.finish()
    (rig.folder / "audience.manifest.json").write_text("{}")
    with pytest.raises(DestinationError, match="none of ours"):
        rig.destination().finish()


def test_a_folder_that_cannot_be_one_is_a_problem_and_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file")
    rig = FileRig(tmp_path)
    assert "cannot be a folder" in rig.destination().problems()[0]
    with pytest.raises(DestinationUnavailableError, match="exports"):
        rig.destination().finish()


def test_a_folder_without_the_right_to_write_is_a_problem(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.folder.mkdir(parents=True)
    assert rig.destination().problems() == []
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "cannot be written to" in rig.destination().problems()[0]


def test_looking_makes_nothing(rig: FileRig) -> None:
    destination = rig.destination()
    assert destination.problems() == []
    list(destination.read(["a"]))
    destination.estimate(1, 1, 1)
    assert not rig.folder.exists()
    assert not rig.state_dir.exists()


def test_a_broken_state_is_unavailable_and_tells_no_values(rig: FileRig) -> None:
    load(rig.destination(), [change("a", fields(MARK))])
    (rig.state_dir / "audience.sqlite").write_bytes(b"no database, " * 500)
    with pytest.raises(DestinationUnavailableError, match=r"audience\.sqlite") as raised:
        load(rig.destination(), [change("b", fields(MARK))])
    assert MARK not in str(raised.value)


def test_a_chunk_that_cannot_be_kept_is_kept_in_no_part(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    load(rig.destination(), [change("a", fields("vip"))])
    monkeypatch.setattr(files_state, "_REMOVE", "delete from no_such_table where record_key = ?")
    with pytest.raises(DestinationUnavailableError):
        load(rig.destination(), [change("b", fields("new")), change("a", None)])
    assert rig.held() == {"a": {"segment": "vip"}}


GOOGLE = (
    DeclaredField(name="zip"),
    DeclaredField(name="mail", type="email_sha256"),
    DeclaredField(name="phone", type="phone_sha256"),
    DeclaredField(name="first_name"),
    DeclaredField(name="last_name"),
    DeclaredField(name="country"),
)


def audience(tmp_path: Path, layout: str, declared: Sequence[DeclaredField]) -> FileDestination:
    sync = Sync("file", "audience", mapped=tuple(one.name for one in declared))
    return FileDestination(FileTarget(folder="exports", layout=layout), declared, sync, root=tmp_path, state_dir=tmp_path / "state")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_googles_layout_has_its_headers_hashed_names_and_clear_country_and_zip(tmp_path: Path) -> None:
    person = {"mail": HASH, "phone": None, "first_name": " Zoë ", "last_name": "PÉREZ", "country": "SG ", "zip": "WC2H 8LG"}
    push(audience(tmp_path, "google_customer_match", GOOGLE), [change("gid://1", person)])
    assert rows_of(tmp_path / "exports/audience.csv") == [
        {"Email": HASH, "Phone": "", "First Name": sha("zoë"), "Last Name": sha("pérez"), "Country": "SG", "Zip": "WC2H 8LG"}
    ]


def test_metas_layout_has_its_headers_and_hashes_all_that_is_personal(tmp_path: Path) -> None:
    declared = (*GOOGLE, DeclaredField(name="city"), DeclaredField(name="value", type="money"))
    person = {"mail": HASH, "phone": OTHER_HASH, "first_name": "Mary", "last_name": None, "country": "US", "zip": "94303-5300"}
    push(audience(tmp_path, "meta_custom_audience", declared), [change("gid://1", {**person, "city": "San José", "value": "12.5"})])
    assert rows_of(tmp_path / "exports/audience.csv") == [
        {
            "email": HASH,
            "phone": OTHER_HASH,
            "fn": sha("mary"),
            "ln": "",
            "zip": sha("94303"),
            "ct": sha("sanjosé"),
            "country": sha("us"),
            "value": "12.5",
        }
    ]


def test_an_address_that_is_not_hashed_never_leaves(tmp_path: Path) -> None:
    destination = audience(tmp_path, "meta_custom_audience", GOOGLE[1:3])
    results = push(destination, [change("a", {"mail": "ann@example.org", "phone": None}), change("b", {"mail": HASH, "phone": None})])
    assert [(one.outcome, one.reason) for one in results] == [
        ("failed", "mail is no SHA-256: it must not leave as it is"),
        ("succeeded", None),
    ]
    assert b"ann@" not in (tmp_path / "exports/audience.csv").read_bytes() + (tmp_path / "state/audience.sqlite").read_bytes()


def test_people_with_nothing_to_match_them_by_are_left_out_and_counted(tmp_path: Path) -> None:
    destination = audience(tmp_path, "google_customer_match", GOOGLE[1:3])
    push(destination, [change("a", {"mail": None, "phone": None}), change("b", {"mail": HASH, "phone": None})])
    written = json.loads((tmp_path / "exports/audience.manifest.json").read_text())
    assert (written["rows"], written["left_out"]) == (1, 1)
    assert (tmp_path / "exports/audience.csv").read_text() == f"Email,Phone\n{HASH},\n"


def mistakes(declared: Sequence[DeclaredField], **options: Any) -> list[str]:
    return FileTarget(**{"folder": "exports", **options}).mistakes(declared)


def test_a_target_without_mistakes_has_none() -> None:
    assert mistakes(FIELDS) == []
    assert mistakes(GOOGLE, layout="google_customer_match", compression="gzip", folder="s3://bucket-1/a/b") == []
    assert mistakes((*GOOGLE, DeclaredField(name="city")), layout="meta_custom_audience") == []


@pytest.mark.parametrize(
    ("declared", "options", "message"),
    [
        ([DeclaredField(name="first_name")], {"layout": "meta_custom_audience"}, "nothing to match people by"),
        ([DeclaredField(name="email"), GOOGLE[2]], {"layout": "google_customer_match"}, "email would leave unhashed"),
        ([DeclaredField(name="phone"), GOOGLE[1]], {"layout": "meta_custom_audience"}, "phone would leave unhashed"),
        ([GOOGLE[1], DeclaredField(name="segment")], {"layout": "google_customer_match"}, "segment has no column"),
        ([GOOGLE[1], DeclaredField(name="city")], {"layout": "google_customer_match"}, "city has no column"),
        ([GOOGLE[1], DeclaredField(name="zip")], {"layout": "google_customer_match"}, "first_name, last_name, country is missing"),
        (
            [GOOGLE[1], DeclaredField(name="other", type="email_sha256")],
            {"layout": "meta_custom_audience"},
            "more than one field goes to email",
        ),
        ([GOOGLE[1]], {"layout": "meta_custom_audience", "format": "parquet"}, "set format: csv"),
        ([GOOGLE[1]], {"layout": "meta_custom_audience", "include_key": True}, "no column for the key"),
        ([DeclaredField(name="record_key")], {}, "name of the key's column"),
        (FIELDS, {"folder": "gs://bucket"}, "neither a folder nor s3://"),
        (FIELDS, {"folder": "s3://Bad_Bucket/x"}, "neither a folder nor s3://"),
        (FIELDS, {"folder": "exports/../../etc"}, "holds `..`"),
        (FIELDS, {"file": "audience-0001"}, "as a part's name"),
        (FIELDS, {"format": "parquet", "compression": "gzip"}, "Parquet compresses by itself"),
    ],
)
def test_what_cannot_come_out_right_is_a_mistake(declared: Sequence[DeclaredField], options: dict[str, Any], message: str) -> None:
    assert [one for one in mistakes(declared, **options) if message in one]


def test_two_syncs_into_one_file_claim_the_same() -> None:
    def claims(**options: Any) -> frozenset[str]:
        return FileTarget(**{"folder": "exports", **options}).named("audience").claims(FIELDS)

    assert claims() == claims(file="audience", folder="./exports/", format="parquet", compression="none")
    assert claims() == claims(max_rows_a_file=5, layout="meta_custom_audience")
    assert claims(folder="s3://bucket/a/") == claims(folder="s3://bucket/a") != claims(folder="s3://bucket/b")
    assert claims().isdisjoint(claims(file="other"))
    assert claims().isdisjoint(claims(folder="elsewhere"))


def test_the_rule_of_hashes_goes_by_layout() -> None:
    rules = {
        layout: FileTarget(folder="x", layout=layout).hash_rule for layout in ("plain", "google_customer_match", "meta_custom_audience")
    }
    assert rules == {"plain": "plain", "google_customer_match": "google", "meta_custom_audience": "meta"}


def test_the_rig_counts_values_that_changed_and_not_somebody_elses(rig: FileRig) -> None:
    push(rig.destination(), [change("a", fields("vip", "1"))])
    assert rig.writes == 2
    rig.change("a", "segment", "changed")
    assert rig.writes == 2
    assert dict(rig.destination().read(["a"])) == {"a": fields("changed", "1")}
    assert rig.held() == {"a": {"segment": "changed", "value": "1"}}
    push(rig.destination(), [change("a", None)])
    assert rig.writes == 4


def test_of_changes_of_one_record_the_last_holds(rig: FileRig) -> None:
    load(rig.destination(), [change("a", fields("vip")), change("a", None), change("b", None), change("b", fields("back"))])
    assert rig.held() == {"b": {"segment": "back"}}


def test_state_files_are_sqlite_and_hold_one_line_a_record(rig: FileRig) -> None:
    load(rig.destination(), [change("a", fields("vip")), change("a", fields("newer"))])
    with sqlite3.connect(rig.state_dir / "audience.sqlite") as connection:
        assert connection.execute("select count(*) from records").fetchone() == (1,)
    assert pl.DataFrame([held for _, held in rig.destination().read(["a"])])["segment"].to_list() == ["newer"]
