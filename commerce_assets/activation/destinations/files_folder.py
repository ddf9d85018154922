"""Where audience files lie: a folder, or a bucket under s3://. A file is put in place whole or not at all.

Belongs here: putting, looking at and removing files by name. Does not belong here: what is in them. S3 needs boto3 (extra `events-sqs`);
its credentials, region and endpoint come from where boto3 looks for them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, …).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from commerce_assets.activation.errors import DestinationUnavailableError

_DIGEST = "sha256"
"""Name of an S3 object's metadata with the SHA-256 of its content; whoever overwrites the object drops it."""


class Folder(Protocol):
    """Files by name."""

    shown: str
    """In running text."""

    def problems(self) -> list[str]:
        """Why nothing can be written here, each with what to do."""

    def workspace(self, name: str, otherwise: Path) -> Path:
        """Where on this machine files are made before they are put in place; `otherwise` where this is no folder of it."""

    def names(self, stem: str) -> list[str]:
        """Names that begin so."""

    def content(self, name: str) -> bytes | None:
        """A small file's content; None where there is none."""

    def digest(self, name: str) -> str | None:
        """SHA-256 of what lies there, in hex; None where there is nothing, or somebody else's."""

    def place(self, made: Path, name: str, digest: str) -> None:
        """Put a file from the workspace in place of whatever has that name: readers see the old one or the new one."""

    def remove(self, name: str) -> None:
        """Take a file away."""


def open_folder(folder: str, root: Path, s3_client: Any = None) -> Folder:
    """A folder as a target names it; a relative one lies below `root`."""
    if folder.startswith("s3://"):
        parts = urlsplit(folder)
        return S3Folder(parts.netloc, parts.path.strip("/"), s3_client)
    return LocalFolder(root / folder)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LocalFolder:
    """A folder of this machine, or one that is mounted here."""

    def __init__(self, path: Path) -> None:
        self.path, self.shown = path, str(path)

    def problems(self) -> list[str]:
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not nearest.is_dir():
            return [f"{nearest} is a file, so {self.shown} cannot be a folder; correct the sync's folder"]
        if not os.access(nearest, os.W_OK | os.X_OK):
            return [f"{nearest} cannot be written to; give this user the right, or correct the sync's folder"]
        return []

    def workspace(self, name: str, otherwise: Path) -> Path:  # noqa: ARG002 (a rename must stay on one file system)
        return self.path / f".{name}.rendering"

    def names(self, stem: str) -> list[str]:
        return sorted(path.name for path in self.path.glob(f"{stem}*") if path.is_file()) if self.path.is_dir() else []

    def content(self, name: str) -> bytes | None:
        with self._trouble():
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                return None

    def digest(self, name: str) -> str | None:
        with self._trouble():
            try:
                return digest_of(self.path / name)
            except FileNotFoundError:
                return None

    def place(self, made: Path, name: str, digest: str) -> None:  # noqa: ARG002 (the content says it)
        with self._trouble():
            _synced(made)
            made.replace(self.path / name)
            _synced(self.path)

    def remove(self, name: str) -> None:
        with self._trouble():
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DestinationUnavailableError(
                f"{self.shown}: {error.strerror or type(error).__name__}; make room or correct the rights, then run again"
            ) from error


class S3Folder:
    """A prefix of a bucket: S3 shows an object when all of it has arrived, uploaded in one piece or in several."""

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self.shown = f"s3://{bucket}/{prefix}"
        self._given = client

    def problems(self) -> list[str]:
        try:
            self._call("list_objects_v2", Prefix=self.prefix, MaxKeys=1)
        except DestinationUnavailableError as error:
            return [str(error)]
        return []

    def workspace(self, name: str, otherwise: Path) -> Path:
        return otherwise / f"{name}.rendering"

    def names(self, stem: str) -> list[str]:
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            answer = self._call("list_objects_v2", Prefix=self.prefix + stem, Delimiter="/", **more)
            found += [one["Key"].removeprefix(self.prefix) for one in answer.get("Contents", [])]
            if not answer.get("IsTruncated"):
                return sorted(found)
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def content(self, name: str) -> bytes | None:
        answer = self._call("get_object", is_lookup=True, Key=self.prefix + name)
        if answer is None:
            return None
        with self._trouble("get_object"):
            return bytes(answer["Body"].read())

    def digest(self, name: str) -> str | None:
        answer = self._call("head_object", is_lookup=True, Key=self.prefix + name)
        return answer["Metadata"].get(_DIGEST) if answer else None

    def place(self, made: Path, name: str, digest: str) -> None:
        self._call("upload_file", Filename=str(made), Key=self.prefix + name, ExtraArgs={"Metadata": {_DIGEST: digest}})
        made.unlink()

    def remove(self, name: str) -> None:
        self._call("delete_object", Key=self.prefix + name)

    def _call(self, method: str, *, is_lookup: bool = False, **arguments: Any) -> Any:
        """What S3 answers; None for a lookup of what is not there."""
        client = self._client()
        from botocore.exceptions import ClientError

        with self._trouble(method):
            try:
                return getattr(client, method)(Bucket=self.bucket, **arguments)
            except ClientError as error:
                if is_lookup and _code(error) in ("NoSuchKey", "404", "NotFound"):
                    return None
                raise

    @contextmanager
    def _trouble(self, method: str) -> Iterator[None]:
        """`DestinationUnavailableError` with S3's code instead of its answer's text, which may hold keys."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError:
            raise DestinationUnavailableError(
                f"there are no credentials for {self.shown}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
            ) from None
        except ClientError as error:
            raise DestinationUnavailableError(
                f"S3 refused {method} at {self.shown} ({_code(error)}); check the bucket, and the credentials' rights to list, get, put and delete"
            ) from None
        except (BotoCoreError, Boto3Error) as error:
            raise DestinationUnavailableError(
                f"{self.shown} cannot be reached ({type(error).__name__}); check network and region, then run again"
            ) from None

    def _client(self) -> Any:
        if self._given is None:
            try:
                import boto3
            except ImportError:
                raise DestinationUnavailableError(
                    f"{self.shown} needs boto3, which is not installed; install commerce-assets[events-sqs]"
                ) from None
            self._given = boto3.client("s3")
        return self._given


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
