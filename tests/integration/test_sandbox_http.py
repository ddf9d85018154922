"""The sandbox over HTTP, in a process of its own but for its faults: tokens, versions, bulk downloads, faults, TLS, restarts."""

import datetime as dt
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from inprocess_shop import ServedSandbox, served_sandbox
from support import SANDBOX_TOKEN, RunningSandbox, running_sandbox

from commerce_assets.sandbox.access import ALL_SCOPES
from commerce_assets.sandbox.auth import FIRST_REFRESH_TOKEN
from commerce_assets.sandbox.documents import gid, line_item_doc, order_doc, shop_doc
from commerce_assets.sandbox.store import Store

pytestmark = pytest.mark.xdist_group("sandbox_http")
"""On one worker: elsewhere the same servers would be started once more."""
ORDERS = "{ orders { edges { node { id name lineItems { edges { node { id sku } } } } } } }"
RUN = "mutation($query: String!) { bulkOperationRunQuery(query: $query) { bulkOperation { id status } userErrors { field message code } } }"
READ = "query($id: ID!) { bulkOperation(id: $id) { status errorCode objectCount rootObjectCount fileSize url partialDataUrl } }"
COUNT = 40


def filled(folder: Path) -> Path:
    store = Store(folder)
    store.set_shop(shop_doc("Mugs", "mugs.myshopify.com", "GBP", "Europe/London", "2024-01-01T00:00:00Z"))
    docs = [
        order_doc(
            number,
            f"#{number}",
            "2026-11-01T00:00:00Z",
            currency="GBP",
            total=Decimal(10),
            line_items=[line_item_doc(10 * number + at, "Mug", 1, Decimal(5), sku=f"S{at}") for at in range(2)],
        )
        for number in range(1, COUNT + 1)
    ]
    store.insert_many("Order", docs)
    store.put_token("narrow", "offline", {"read_products"}, None)
    store.put_token("stale", "offline", ALL_SCOPES, 1.0)
    store.close()
    return folder


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(filled(tmp_path_factory.mktemp("http") / "store")) as running:
        yield running


def post(
    sandbox: RunningSandbox | ServedSandbox,
    text: str,
    variables: dict[str, Any] | None = None,
    token: str | None = SANDBOX_TOKEN,
    version: str = "2026-10",
) -> httpx.Response:
    headers = {} if token is None else {"X-Shopify-Access-Token": token}
    url = f"{sandbox.url}/admin/api/{version}/graphql.json"
    return httpx.post(url, json={"query": text, "variables": variables or {}}, headers=headers, timeout=20, verify=False)


def bulk(sandbox: RunningSandbox | ServedSandbox, text: str = ORDERS, version: str = "2026-10") -> dict[str, Any]:
    """Run a bulk query to its end."""
    payload = post(sandbox, RUN, {"query": text}, version=version).json()["data"]["bulkOperationRunQuery"]
    assert payload["userErrors"] == []
    until = time.monotonic() + 30
    while time.monotonic() < until:
        operation: dict[str, Any] = post(sandbox, READ, {"id": payload["bulkOperation"]["id"]}).json()["data"]["bulkOperation"]
        if operation["status"] not in ("CREATED", "RUNNING"):
            return operation
        time.sleep(0.05)
    raise AssertionError("the operation did not end")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("2026-10", "2026-10"), ("2026-01", "2026-01"), ("2025-07", "2026-01"), ("2019-04", "2026-01"), ("unstable", "unstable")],
)
def test_an_unsupported_version_falls_forward_and_only_the_header_tells(sandbox: RunningSandbox, asked: str, answered: str):
    response = post(sandbox, "{ shop { name } }", version=asked)
    assert response.json()["data"] == {"shop": {"name": "Mugs"}}
    assert response.headers["X-Shopify-API-Version"] == answered


@pytest.mark.parametrize("token", [None, "wrong", "stale", FIRST_REFRESH_TOKEN])
def test_a_missing_wrong_or_expired_token_is_401(sandbox: RunningSandbox, token: str | None):
    response = post(sandbox, "{ shop { name } }", token=token)
    assert response.status_code == 401
    assert response.json() == {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}


def test_client_credentials_give_a_token_for_a_day(sandbox: RunningSandbox):
    form = {"client_id": "sandbox-client", "client_secret": "sandbox-secret", "grant_type": "client_credentials"}
    for arguments in ({"data": form}, {"json": form}):
        grant = httpx.post(f"{sandbox.url}/admin/oauth/access_token", **arguments).json()  # type: ignore[arg-type]
        assert grant["expires_in"] == 86399
        assert post(sandbox, "{ shop { name } }", token=grant["access_token"]).status_code == 200
    refused = httpx.post(f"{sandbox.url}/admin/oauth/access_token", data={**form, "client_secret": "wrong"})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")


def test_a_refresh_token_is_good_for_one_exchange(sandbox: RunningSandbox):
    def refresh(token: str) -> httpx.Response:
        form = {"client_id": "sandbox-client", "client_secret": "sandbox-secret", "grant_type": "refresh_token", "refresh_token": token}
        return httpx.post(f"{sandbox.url}/admin/oauth/access_token", data=form)

    first = refresh(FIRST_REFRESH_TOKEN).json()
    assert (first["expires_in"], first["refresh_token_expires_in"]) == (3600, 7_776_000)
    assert post(sandbox, "{ shop { name } }", token=first["access_token"]).status_code == 200
    assert refresh(FIRST_REFRESH_TOKEN).json()["error"] == "invalid_grant"
    assert refresh(first["refresh_token"]).status_code == 200


def test_scopes_and_shop_are_told(sandbox: RunningSandbox):
    headers = {"X-Shopify-Access-Token": "narrow"}
    scopes = httpx.get(f"{sandbox.url}/admin/oauth/access_scopes.json", headers=headers).json()
    assert scopes == {"access_scopes": [{"handle": "read_products"}]}
    assert (
        httpx.get(f"{sandbox.url}/admin/api/2026-10/shop.json", headers=headers).json()["shop"]["myshopify_domain"] == "mugs.myshopify.com"
    )
    denied = post(sandbox, "{ orders(first: 1) { nodes { id } } }", token="narrow").json()
    assert denied["errors"][0]["extensions"]["code"] == "ACCESS_DENIED"


def test_a_bulk_result_is_downloaded_whole_and_in_parts(sandbox: RunningSandbox):
    operation = bulk(sandbox)
    assert (operation["status"], operation["objectCount"], operation["rootObjectCount"]) == ("COMPLETED", str(3 * COUNT), str(COUNT))
    whole = httpx.get(operation["url"])
    assert len(whole.content) == int(operation["fileSize"])
    assert "filename=" in whole.headers["content-disposition"]
    half = len(whole.content) // 2
    rest = httpx.get(operation["url"], headers={"Range": f"bytes={half}-"})
    assert (rest.status_code, rest.content) == (206, whole.content[half:])
    assert rest.headers["content-range"] == f"bytes {half}-{len(whole.content) - 1}/{len(whole.content)}"
    assert httpx.get(operation["url"], headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert len([json.loads(line) for line in whole.content.splitlines()]) == 3 * COUNT


def test_a_url_that_was_changed_is_refused(sandbox: RunningSandbox):
    url = bulk(sandbox)["url"]
    assert httpx.get(url.replace("Expires=1", "Expires=2")).status_code == 403


@pytest.mark.parametrize(("version", "grouped"), [("2025-07", True), ("2026-10", False)])
def test_clients_of_the_time_before_it_changed_get_grouped_results(sandbox: RunningSandbox, version: str, grouped: bool):
    found = [json.loads(line) for line in httpx.get(bulk(sandbox, version=version)["url"]).text.splitlines()]
    assert ("__parentId" in found[1]) is grouped


def test_a_staged_upload_is_kept(sandbox: RunningSandbox):
    document = (
        "mutation($input: [StagedUploadInput!]!) { stagedUploadsCreate(input: $input)"
        " { stagedTargets { url parameters { name value } } userErrors { message } } }"
    )
    wanted = {"resource": "BULK_MUTATION_VARIABLES", "filename": "rows.jsonl", "mimeType": "text/jsonl", "httpMethod": "POST"}
    (target,) = post(sandbox, document, {"input": [wanted]}).json()["data"]["stagedUploadsCreate"]["stagedTargets"]
    fields = {field["name"]: field["value"] for field in target["parameters"]}
    uploaded = httpx.post(target["url"], data=fields, files={"file": ("rows.jsonl", b'{"a":1}\n', "text/jsonl")})
    assert uploaded.status_code == 201
    refused = httpx.post(target["url"], data={**fields, "key": "tmp/1/bulk/x/rows.jsonl"}, files={"file": ("rows.jsonl", b"{}")})
    assert refused.status_code == 403


def test_faults_strike_on_schedule(tmp_path: Path):
    faults: list[dict[str, Any]] = [
        {"kind": "http_503", "nth": [1]},
        {"kind": "http_429", "nth": [2], "seconds": 3},
        {"kind": "throttled", "nth": [3]},
        {"kind": "token_expired", "nth": [4]},
        {"kind": "wrong_version", "nth": [5], "version": "2026-01"},
        {"kind": "cut_connection", "nth": [6]},
        {"kind": "timeout", "nth": [7], "seconds": 0.2},
    ]
    with served_sandbox(filled(tmp_path / "store"), *faults) as running:
        answers = [post(running, "{ shop { name } }") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [503, 429, 200, 401, 200]
        assert answers[1].headers["Retry-After"] == "3.0"
        assert answers[2].json()["errors"][0]["extensions"]["code"] == "THROTTLED"
        assert answers[4].headers["X-Shopify-API-Version"] == "2026-01"
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                post(running, "{ shop { name } }")
        assert post(running, "{ shop { name } }").status_code == 200


def download(url: str, into: bytearray) -> None:
    with httpx.stream("GET", url) as response:
        for chunk in response.iter_raw():
            into.extend(chunk)


def test_a_cut_download_can_be_resumed_and_an_expired_url_says_so(tmp_path: Path):
    faults: list[dict[str, Any]] = [
        {"kind": "cut_connection", "on": "download", "nth": [1], "at": 0.5},
        {"kind": "url_expired", "nth": [3]},
    ]
    with served_sandbox(filled(tmp_path / "store"), *faults) as running:
        operation = bulk(running)
        got = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            download(operation["url"], got)
        assert 0 < len(got) < int(operation["fileSize"])
        rest = httpx.get(operation["url"], headers={"Range": f"bytes={len(got)}-"})
        assert len(got) + len(rest.content) == int(operation["fileSize"])
        expired = httpx.get(operation["url"])
        assert (expired.status_code, "ExpiredToken" in expired.text) == (400, True)


def test_everything_survives_a_killed_server(tmp_path: Path):
    folder = filled(tmp_path / "store")
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"seed": 1, "faults": [{"kind": "bulk_slow", "nth": [2], "seconds": 60}]}))
    with running_sandbox(folder, "--faults", str(faults)) as running:
        kept = bulk(running)
        document = 'mutation { tagsAdd(id: "%s", tags: "kept") { userErrors { message } } }' % gid("Order", 1)  # noqa: UP031
        assert post(running, document).json()["data"]["tagsAdd"]["userErrors"] == []
        unfinished = post(running, RUN, {"query": ORDERS}).json()["data"]["bulkOperationRunQuery"]["bulkOperation"]["id"]
        running.process.kill()
        running.process.wait()
    with running_sandbox(folder) as running:
        orders = post(running, '{ orders(first: 5, query: "tag:kept") { nodes { name } } }').json()["data"]["orders"]["nodes"]
        assert orders == [{"name": "#1"}]
        operation = post(running, READ, {"id": unfinished}).json()["data"]["bulkOperation"]
        assert (operation["status"], operation["errorCode"]) == ("FAILED", "INTERNAL_SERVER_ERROR")
        port = running.url.rpartition(":")[2]
        moved = httpx.URL(kept["url"]).copy_with(port=int(port))
        assert len(httpx.get(moved).content) == int(kept["fileSize"])


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert_path, key_path


@dataclass(frozen=True)
class Dressed:
    """A sandbox with options of the command line: `--plan plus` and TLS."""

    running: RunningSandbox
    certificate: Path


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dressed]:
    folder = tmp_path_factory.mktemp("dressed")
    cert, key = certificate(folder)
    with running_sandbox(filled(folder / "store"), "--plan", "plus", "--tls-cert", str(cert), "--tls-key", str(key)) as running:
        yield Dressed(running, cert)


def test_it_serves_https_and_its_links_say_so(dressed: Dressed):
    port = dressed.running.url.rpartition(":")[2]
    trusted = ssl.create_default_context(cafile=str(dressed.certificate))
    with httpx.Client(verify=trusted, base_url=f"https://localhost:{port}") as client:
        assert client.get("/healthz").status_code == 200
    assert bulk(dressed.running)["url"].startswith(f"https://127.0.0.1:{port}/")


def test_the_plan_sets_the_rate_limit(dressed: Dressed):
    status = post(dressed.running, "{ shop { name } }").json()["extensions"]["cost"]["throttleStatus"]
    assert (status["maximumAvailable"], status["restoreRate"]) == (20_000, 1000)
