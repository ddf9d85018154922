"""Audience files under s3://, against moto's server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs.file import FIELDS, SYNC

from commerce_assets.activation.destinations.files import FileDestination
from commerce_assets.activation.destinations.files_folder import S3Folder
from commerce_assets.activation.errors import DestinationUnavailableError
from commerce_assets.activation.records import Change
from commerce_assets.activation.targets import FileTarget

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto's server is not installed (extra `dev`)")
    pytest.importorskip("boto3", reason="boto3 is not installed (extra `events-sqs`)")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        running.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return boto3.client("s3")


def change(key: str, segment: str | None) -> Change:
    fields = {"segment": segment, "value": None, "as_of": None} if segment else {}
    return Change(key, "update" if segment else "remove", fields, None, None, None, f"send-{key}")


def push(destination: FileDestination, *changes: Change) -> None:
    destination.prepare()
    assert {one.outcome for one in destination.load(changes, "file")} <= {"succeeded"}
    destination.finish()


def test_files_are_put_replaced_healed_and_taken_away_under_a_prefix(s3: Any, tmp_path: Path) -> None:
    s3.create_bucket(Bucket="audiences")
    s3.put_object(Bucket="audiences", Key="crm/audience-other.csv", Body=b"somebody else's")

    def destination(**options: Any) -> FileDestination:
        target = FileTarget(folder="s3://audiences/crm/", **options)
        return FileDestination(target, FIELDS, SYNC, root=tmp_path, state_dir=tmp_path / "state")

    def body(name: str) -> str:
        return s3.get_object(Bucket="audiences", Key=f"crm/{name}")["Body"].read().decode()

    def names() -> list[str]:
        return [one["Key"] for one in s3.list_objects_v2(Bucket="audiences")["Contents"]]

    assert destination().problems() == []
    push(destination(), change("b", "vip"), change("a", "new"))
    whole = "record_key,segment,value,as_of\na,new,,\nb,vip,,\n"
    assert body("audience.csv") == whole
    assert json.loads(body("audience.manifest.json"))["rows"] == 2
    assert not list((tmp_path / "state").glob("*.rendering"))

    unchanged = destination()
    unchanged.finish()
    assert unchanged.meter.by_operation == {}

    s3.put_object(Bucket="audiences", Key="crm/audience.csv", Body=b"overwritten")
    destination().finish()
    assert body("audience.csv") == whole

    push(destination(max_rows_a_file=1), change("c", "more"))
    assert [name for name in names() if name.endswith(".csv")] == [
        "crm/audience-0001.csv",
        "crm/audience-0002.csv",
        "crm/audience-0003.csv",
        "crm/audience-other.csv",
    ]
    push(destination(), change("b", None), change("c", None))
    assert names() == ["crm/audience-other.csv", "crm/audience.csv", "crm/audience.manifest.json"]
    assert body("audience.csv") == "record_key,segment,value,as_of\na,new,,\n"


def test_a_bucket_that_is_not_there_is_a_problem(s3: Any, tmp_path: Path) -> None:
    destination = FileDestination(FileTarget(folder="s3://nobodys-bucket/x"), FIELDS, SYNC, root=tmp_path, state_dir=tmp_path)
    (problem,) = destination.problems()
    assert "NoSuchBucket" in problem
    assert "s3://nobodys-bucket/x" in problem
    with pytest.raises(DestinationUnavailableError, match="NoSuchBucket"):
        destination.finish()


def test_missing_credentials_are_a_problem(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    client = boto3.session.Session().client("s3")
    (problem,) = S3Folder("audiences", "crm", client).problems()
    assert "there are no credentials for s3://audiences/crm" in problem


def test_names_are_listed_page_by_page(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket="many")
    for number in range(5):
        s3.put_object(Bucket="many", Key=f"x/part-{number}", Body=b"")
    listed = s3.list_objects_v2
    monkeypatch.setattr(s3, "list_objects_v2", lambda **arguments: listed(**arguments, MaxKeys=2))
    assert S3Folder("many", "x", s3).names("part-") == [f"part-{number}" for number in range(5)]
