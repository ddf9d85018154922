"""A real client that nobody here wrote, tap-shopify from PyPI, reads the sandbox as it would a shop: over TLS, at version 2025-07, unmodified."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from connect_proxy import connect_proxy, issue_certificates
from support import SANDBOX_TOKEN, commerce, running_sandbox

from commerce_assets.sandbox.store import Store

TAP = "tap-shopify==3.13.0"
SHOP = "sandbox-tests"
STREAMS = ("orders", "products", "customers")


@pytest.fixture(scope="module")
def tap(pytestconfig: pytest.Config) -> Path:
    """The tap in a virtual environment of its own, kept between runs; skipped where it cannot be installed."""
    folder = pytestconfig.cache.mkdir("tap-shopify-3.13.0")
    executable = folder / "venv" / "bin" / "tap-shopify"
    if not executable.exists():
        made = subprocess.run([sys.executable, "-m", "venv", folder / "venv"], capture_output=True, text=True)
        pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", TAP]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=280) if made.returncode == 0 else made
        if done.returncode != 0:
            pytest.skip(f"{TAP} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return executable


def _select(catalog: dict) -> dict:
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            breadcrumb = entry["breadcrumb"]
            if not breadcrumb:
                entry["metadata"]["selected"] = stream["stream"] in STREAMS
            elif entry["metadata"].get("inclusion") == "available":
                entry["metadata"]["selected"] = True
    return catalog


@pytest.mark.slow
@pytest.mark.xdist_group("tap")
def test_tap_shopify_reads_every_order_product_and_customer(tmp_path: Path, tap: Path) -> None:
    store = tmp_path / "store"
    commerce("sandbox", "fill", "--scale", "0.02", "--seed", "7", "--store", str(store))
    certificates = issue_certificates(tmp_path, f"{SHOP}.myshopify.com")
    config, catalog_path = tmp_path / "config.json", tmp_path / "catalog.json"
    config.write_text(
        json.dumps({"shop": SHOP, "access_token": SANDBOX_TOKEN, "start_date": "2020-01-01T00:00:00Z", "date_window_size": 4000})
    )
    tls = ("--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key), "--plan", "plus")

    held = Store(store)
    counts = {stream: held.count(kind) for stream, kind in (("orders", "Order"), ("products", "Product"), ("customers", "Customer"))}
    held.close()

    with running_sandbox(store, *tls) as sandbox, connect_proxy(httpx.URL(sandbox.url).port or 443) as proxy:
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name.lower() not in {"no_proxy", "https_proxy", "http_proxy", "all_proxy"}
            },
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "SSL_CERT_FILE": str(certificates.ca),
            "REQUESTS_CA_BUNDLE": str(certificates.ca),
        }

        def run(*arguments: str) -> str:
            done = subprocess.run([tap, "--config", config, *arguments], capture_output=True, text=True, env=environment, timeout=250)
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        catalog_path.write_text(json.dumps(_select(json.loads(run("--discover")))))
        messages = [json.loads(line) for line in run("--catalog", str(catalog_path)).splitlines()]

    records = [message for message in messages if message["type"] == "RECORD"]
    read = Counter(message["stream"] for message in records)
    assert counts["orders"] > 50
    assert dict(read) == counts
    lines = [len(message["record"]["lineItems"]) for message in records if message["stream"] == "orders"]
    assert min(lines) >= 1
