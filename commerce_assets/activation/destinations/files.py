"""Audience files: one file (or its parts), always whole, with a manifest beside it.

A file cannot be written record by record. So `load` keeps records in a state beside (files_state.py), durably, and `finish` makes the file
from all of them, under another name, and puts it in place; the manifest comes last. `finish` goes by content: it makes a file where the
manifest is not of the state's content or a part is not what the manifest says. So a push that was killed in between heals with the next
one, even if that has nothing to write, and a set that did not change is not written again.

The parts bear stable names and are replaced one by one, each at once. Who fetches them reads the manifest, then the parts, and compares
their SHA-256: another one means that a new export is just being put in place, and he begins again.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from commerce_assets.activation.audiences import is_sha256
from commerce_assets.activation.destinations.files_folder import digest_of, open_folder
from commerce_assets.activation.destinations.files_render import Manifest, Rendering, render
from commerce_assets.activation.destinations.files_state import FileState
from commerce_assets.activation.errors import DestinationError, DestinationUnavailableError
from commerce_assets.activation.records import Change, Estimate, Fields, Meter, RowResult, Sync
from commerce_assets.activation.targets.base import DeclaredField
from commerce_assets.activation.targets.file import FileTarget

CHUNK_ROWS = 50_000
ROWS_A_SECOND = 50_000
"""Of an estimate. Measured: 70,000 rows of four columns a second of one core, state and CSV together; the disk takes its share."""
_RENDERING = 1
"""Of the form of files; another number has every file made anew."""
_MEMBER = r"(-[0-9]{4,})?\.(csv|jsonl|parquet)(\.gz)?"
"""What follows the stem in the names of files that are ours."""


class FileDestination:
    """The file of one sync."""

    can_read = True

    def __init__(
        self, target: FileTarget, fields: Sequence[DeclaredField], sync: Sync, *, root: Path, state_dir: Path, s3_client: Any = None
    ) -> None:
        """`root`: where a relative folder lies. `state_dir`: on this machine's disk and kept between runs; it holds people's values."""
        self.meter = Meter()
        self._target, self._sync = target.named(sync.name), sync
        self._stem = self._target.file or sync.name
        self._columns = self._target.columns(fields)
        self._hashes = [column.field for column in self._columns if column.treatment == "hash" and column.field]
        self._folder = open_folder(target.folder, root, s3_client)
        self._workspace = self._folder.workspace(sync.name, state_dir)
        self._state = FileState(state_dir / f"{sync.name}.sqlite")

    @property
    def manifest_name(self) -> str:
        """Of the file that says what lies there."""
        return f"{self._stem}.manifest.json"

    def problems(self) -> Sequence[str]:
        found = self._folder.problems()
        if not found:
            try:
                self._refuse_foreign(self._manifest())
            except (DestinationError, DestinationUnavailableError) as error:
                found = [str(error)]
        return found

    def prepare(self) -> None:
        """Raises `DestinationError` where the file that lies there was made from another state than ours."""
        self._refuse_foreign(self._manifest())

    def settle(self) -> None:
        """Nothing goes on here after a process has ended."""

    def read(self, keys: Sequence[str]) -> Iterable[tuple[str, Fields | None]]:
        """What the next file will hold; every field None for a key that is not in it."""
        for key, held in self._state.read(keys):
            yield key, self._whole(held or {})

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:  # noqa: ARG002 (there is one path)
        """Keep the changes for the file: all that are right are durable before the first result is given."""
        results: list[RowResult] = []
        written: dict[str, Fields] = {}
        removed: set[str] = set()
        reasons = [self._refusal(change) for change in changes]
        found = self._state.read([change.record_key for change, reason in zip(changes, reasons, strict=True) if reason is None])
        there: dict[str, Fields] = {key: self._whole(held) for key, held in found if held is not None}
        for change, reason in zip(changes, reasons, strict=True):
            key, held = change.record_key, there.get(change.record_key)
            if reason is not None:
                results.append(RowResult(key, "failed", reason))
            elif change.expects != "any" and (held is not None) != (change.expects == "present"):
                results.append(RowResult(key, "skipped", "not at the destination" if held is None else "already there"))
            elif change.operation == "remove":
                for known in (written, there):
                    known.pop(key, None)
                removed.add(key)
                results.append(RowResult(key, "succeeded", held=self._whole({})))
            else:
                wanted = self._wanted(change, held)
                if wanted != held:
                    removed.discard(key)
                    written[key] = there[key] = wanted
                results.append(RowResult(key, "succeeded", held=wanted))
        if written or removed:
            self.meter.requests += 1
            self._count("chunk")
            self._state.change(written, removed)
        yield from results

    def finish(self) -> None:
        """Bring the file up to the state, if it is not there already. Raises `DestinationError` where it is another state's file."""
        manifest = self._manifest()
        self._refuse_foreign(manifest)
        self._clear()
        digest = self._content_digest()
        if manifest is None or manifest.content_digest != digest or not self._is_in_place(manifest):
            manifest = self._replace(digest)
        self._remove_stale(manifest)

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        rows = creates + updates + removals
        return Estimate("file", CHUNK_ROWS, ceil(rows / CHUNK_ROWS), 0, reads_new=True, seconds=rows / ROWS_A_SECOND)

    def _replace(self, digest: str) -> Manifest:
        workspace = self._workspace
        try:
            workspace.mkdir(parents=True)
            rendering = render(self._state.pages(), self._target, self._columns, self._stem, workspace)
            for part in rendering.parts:
                self._count("file")
                self._folder.place(workspace / part.file, part.file, part.sha256)
            manifest = self._manifest_of(rendering, digest)
            made = workspace / self.manifest_name
            made.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            self._count("manifest")
            self._folder.place(made, self.manifest_name, digest_of(made))
        except OSError as error:
            raise DestinationUnavailableError(
                f"{self._stem} for {self._folder.shown} could not be made ({error.strerror}); make room, then run again"
            ) from error
        finally:
            self._clear()
        return manifest

    def _clear(self) -> None:
        """Of what a killed process was making nothing may stay: it may hold somebody who is gone since."""
        shutil.rmtree(self._workspace, ignore_errors=True)

    def _manifest_of(self, rendering: Rendering, digest: str) -> Manifest:
        return Manifest(
            sync=self._sync.name,
            layout=self._target.layout,
            format=self._target.format,
            compression=self._target.compression,
            columns=tuple(column.header for column in self._columns),
            rows=rendering.rows,
            left_out=rendering.left_out,
            parts=rendering.parts,
            content_digest=digest,
            state=self._state.identity(),
            made_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )

    def _content_digest(self) -> str:
        shape = self._target.model_dump(mode="json", include={"layout", "format", "compression", "max_rows_a_file", "escape_formulas"})
        columns = [(column.field, column.header, column.treatment) for column in self._columns]
        content = hashlib.sha256(orjson.dumps([_RENDERING, self._stem, shape, columns], option=orjson.OPT_SORT_KEYS))
        for page in self._state.pages():
            content.update(b"\n")
            content.update(page.encode())
        return content.hexdigest()

    def _manifest(self) -> Manifest | None:
        content = self._folder.content(self.manifest_name)
        if content is None:
            return None
        try:
            return Manifest.model_validate_json(content)
        except ValidationError:
            raise DestinationError(
                f"{self.manifest_name} in {self._folder.shown} is none of ours; move it away, or give the sync another file"
            ) from None

    def _is_in_place(self, manifest: Manifest) -> bool:
        return all(self._folder.digest(part.file) == part.sha256 for part in manifest.parts)

    def _refuse_foreign(self, manifest: Manifest | None) -> None:
        """A lost state would replace a full file by an empty one; another installation's or sync's file is not ours to replace."""
        if manifest is None or (self._state.exists and manifest.state == self._state.identity()):
            return
        if manifest.sync != self._sync.name:
            raise DestinationError(
                f"{self.manifest_name} in {self._folder.shown} belongs to sync {manifest.sync}; give this one another file, or remove the manifest"
            )
        raise DestinationError(
            f"{self.manifest_name} in {self._folder.shown} was made from another state than {self._state.path.name} on this machine; bring that "
            f"state back, or remove the manifest and resync {self._sync.name} to build the file anew"
        )

    def _remove_stale(self, manifest: Manifest) -> None:
        """Parts that are no longer needed, files of another format: nothing that holds an erased person may stay."""
        kept = {part.file for part in manifest.parts}
        ours = re.compile(re.escape(self._stem) + _MEMBER)
        for name in self._folder.names(self._stem):
            if name not in kept and ours.fullmatch(name):
                self._folder.remove(name)

    def _whole(self, fields: Fields) -> dict[str, str | None]:
        return {name: fields.get(name) for name in self._sync.fields}

    def _wanted(self, change: Change, held: Fields | None) -> Fields:
        """What the record is to hold; as before where nothing but carried fields differ, which say since when the others hold."""
        wanted = self._whole(change.fields)
        if held is None or change.is_whole:
            return wanted
        wanted |= {name: held[name] for name in self._sync.kept_when_null if wanted[name] is None}
        return held if all(wanted[name] == held[name] for name in self._sync.mapped) else wanted

    def _refusal(self, change: Change) -> str | None:
        """Why this one cannot be in a file: names of fields, never a value."""
        if not change.record_key:
            return "the key is empty"
        for name, value in (("the key", change.record_key), *change.fields.items()):
            if value is None:
                continue
            if "\x00" in value:
                return f"{name} holds a NUL character, which no text file can"
            if not _is_unicode(value):
                return f"{name} is no valid Unicode"
        unhashed = [name for name in self._hashes if (value := change.fields.get(name)) is not None and not is_sha256(value)]
        return f"{unhashed[0]} is no SHA-256: it must not leave as it is" if unhashed else None

    def _count(self, operation: str) -> None:
        """A request is a chunk that was given to it; making the files is the end of a run, and asks nothing of anybody."""
        self.meter.by_operation[operation] = self.meter.by_operation.get(operation, 0) + 1


def _is_unicode(value: str) -> bool:
    """Not so for half of a surrogate pair."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
