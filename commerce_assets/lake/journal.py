"""Commits: all files of a load become visible, or none; what was interrupted is completed.

A commit is a list of renames (staged file -> its place) and of files to remove, written down before the first of them is done. A
rename over a file is atomic, so a reader sees a partition's old or new file, never half of one. Belongs here: that, and the locks.
Does not belong here: what the files hold.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

JOURNAL = "journal.json"


@dataclass
class Commit:
    """Renames (relative to the staging folder -> relative to the lake's root) and removals (relative to the root)."""

    renames: dict[str, str] = field(default_factory=dict)
    removals: list[str] = field(default_factory=list)


def commit(root: Path, staging: Path, planned: Commit) -> None:
    """Write the journal, then do what it says. After the journal stands, the commit will happen, whoever completes it."""
    for staged in planned.renames:
        _sync(staging / staged)
    draft = staging / f"{JOURNAL}.draft"
    draft.write_text(json.dumps(asdict(planned)), encoding="utf-8")
    _sync(draft)
    draft.rename(staging / JOURNAL)
    _sync(staging)
    roll_forward(root, staging)


def roll_forward(root: Path, staging: Path) -> None:
    """Do what the journal says and has not been done yet, then forget it."""
    planned = Commit(**json.loads((staging / JOURNAL).read_text(encoding="utf-8")))
    folders = set()
    for staged, place in planned.renames.items():
        source, target = staging / staged, root / place
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            folders.add(target.parent)
    for place in planned.removals:
        target = root / place
        target.unlink(missing_ok=True)
        folders.add(target.parent)
    parents = set()
    for folder in folders:
        if not folder.exists():
            continue
        if any(folder.iterdir()):
            _sync(folder)
        else:
            # Once the parent knows that it is gone, so is all that was in it; a fold empties thousands.
            folder.rmdir()
            parents.add(folder.parent)
    for parent in parents:
        _sync(parent)
    (staging / JOURNAL).unlink()
    shutil.rmtree(staging, ignore_errors=True)


def recover(root: Path) -> list[str]:
    """Complete interrupted commits and clear what never came to one; loads at work are left alone. The ids of those completed."""
    completed = []
    for staging in sorted(path for path in (root / "_staging").glob("*") if path.is_dir()):
        with try_lock(lock_path(root, f"load-{staging.name}")) as is_ours:
            if not is_ours:
                continue
            if (staging / JOURNAL).exists():
                roll_forward(root, staging)
                completed.append(staging.name)
            else:
                shutil.rmtree(staging, ignore_errors=True)
    return completed


def lock_path(root: Path, name: str) -> Path:
    """The file that a lock of this name is taken on."""
    return root / "_locks" / f"{name}.lock"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Hold a lock together with others who share it; who wants it for himself waits for all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def forget_lock(path: Path) -> None:
    """Remove the file of a lock that nobody will ask for again; call it while holding the lock."""
    path.unlink(missing_ok=True)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock if nobody else does; whether it was had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
