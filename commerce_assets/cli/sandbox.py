"""`commerce sandbox`: the Shopify-compatible store on loopback, served, filled, and shopped in."""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from commerce_assets.cli.output import Json, as_table, show
from commerce_assets.config import SANDBOX_TOKEN, SANDBOX_WEBHOOK_SECRET, Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The Shopify-compatible store on loopback.")
StoreDirectory = Annotated[Path | None, typer.Option("--store", help="Folder of the store's state; default <data root>/sandbox.")]


def _store_directory(settings: Settings, store: Path | None) -> Path:
    return store or settings.data_root / "sandbox"


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless you know why.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8810,
    store: StoreDirectory = None,
    access_token: Annotated[str, typer.Option(help="Static access token that the store accepts.")] = SANDBOX_TOKEN,
    client_id: Annotated[str, typer.Option(help="Client id of the client-credentials grant.")] = "sandbox-client",
    client_secret: Annotated[str, typer.Option(help="Client secret of the client-credentials grant.")] = "sandbox-secret",  # noqa: S107 - opens nothing but the store on loopback
    plan: Annotated[str, typer.Option(help="standard or plus: the rate limit.")] = "standard",
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults to inject.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate: serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    webhook_secret: Annotated[str, typer.Option(help="Signs the deliveries of webhooks.")] = SANDBOX_WEBHOOK_SECRET,
    webhook_clock_speed: Annotated[float, typer.Option(help="How much faster than real the four hours of retries pass.")] = 1.0,
    webhook_faults: Annotated[
        str | None, typer.Option(help='What goes wrong, e.g. "duplicate=0.01,reorder=0.05,lose=0.001,seed=1".')
    ] = None,
) -> None:
    """Serve the sandbox store."""
    from commerce_assets.sandbox import server

    server.serve(
        _store_directory(load_settings(), store),
        host=host,
        port=port,
        access_token=access_token,
        client_id=client_id,
        client_secret=client_secret,
        plan=plan,
        faults=faults,
        tls_cert=tls_cert,
        tls_key=tls_key,
        webhook_secret=webhook_secret,
        webhook_clock_speed=webhook_clock_speed,
        webhook_faults=webhook_faults,
    )


@app.command("fill")
def fill(
    scale: Annotated[float, typer.Option(help="1 is about 2,000 customers and 12,000 orders.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same store.")] = 1,
    dirt: Annotated[float, typer.Option(help="Share of records that break a contract; the list is kept in the store.")] = 0.0,
    as_of: Annotated[datetime | None, typer.Option(help="The store's 'now'; default now.")] = None,
    store: StoreDirectory = None,
    as_json: Json = False,
) -> None:
    """Fill the sandbox store with a believable retailer."""
    from commerce_assets.sandbox import fill as filling

    summary = filling.fill(_store_directory(load_settings(), store), scale=scale, seed=seed, dirt=dirt, as_of=as_of)
    show(summary, as_json, as_table)


@app.command("load")
def load(
    transactions: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Parquet or CSV of transaction lines.")],
    columns: Annotated[str | None, typer.Option(help='JSON: our name -> column in the file, e.g. {"invoice": "InvoiceNo"}.')] = None,
    recent: Annotated[bool, typer.Option("--recent", help="Move all by whole weeks, so that the last line is of the last week.")] = False,
    store: StoreDirectory = None,
    as_json: Json = False,
) -> None:
    """Fill the sandbox store from a real transaction file; every line is accounted for by class."""
    from commerce_assets.sandbox import load as loading

    mapping = json.loads(columns) if columns else None
    summary = loading.load(_store_directory(load_settings(), store), transactions, mapping, recent=recent)
    show(summary, as_json, as_table)


@app.command("traffic")
def traffic(
    orders_per_minute: Annotated[float, typer.Option(help="Orders placed a minute.")] = 60,
    minutes: Annotated[float, typer.Option(help="For how long.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same choices.")] = 1,
    url: Annotated[str | None, typer.Option(help="Address of the store; default the configured one.")] = None,
    token: Annotated[str, typer.Option(help="The store's static access token.")] = SANDBOX_TOKEN,
    refund_share: Annotated[float, typer.Option(help="Share of orders refunded.")] = 0.05,
    fulfil_share: Annotated[float, typer.Option(help="Share of orders shipped.")] = 0.9,
    cancel_share: Annotated[float, typer.Option(help="Share of orders cancelled.")] = 0.03,
    restock_share: Annotated[float, typer.Option(help="Restocks by the storefront's staff, as a share of orders.")] = 0.05,
    new_customer_share: Annotated[float, typer.Option(help="Share of orders by customers nobody knew.")] = 0.3,
    as_json: Json = False,
) -> None:
    """Buy, ship, refund, cancel and restock through the Admin API, like real customers."""
    from commerce_assets.sandbox.traffic import run_traffic

    summary = run_traffic(
        url or load_settings().storefront_url,
        token,
        orders_per_minute,
        minutes,
        seed,
        refund_share=refund_share,
        fulfil_share=fulfil_share,
        cancel_share=cancel_share,
        restock_share=restock_share,
        new_customer_share=new_customer_share,
        progress=lambda so_far: print(f"{so_far.done.get('orders', 0):,} orders placed", file=sys.stderr, flush=True),
    )
    show(summary.as_json(), as_json, as_table)


@app.command("record")
def record(
    file: Annotated[Path, typer.Argument(help="JSON lines to write; .gz compresses.")],
    orders: Annotated[int, typer.Option(help="Orders placed in the store, which keeps them.")] = 1_000,
    orders_per_minute: Annotated[float, typer.Option(help="The pace at which they are placed.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Same seed, same traffic.")] = 1,
    store: StoreDirectory = None,
    as_json: Json = False,
) -> None:
    """Rehearse traffic in a store that nobody serves and record every webhook it would send."""
    from commerce_assets.sandbox.recording import record_traffic

    show(asdict(record_traffic(_store_directory(load_settings(), store), file, orders, orders_per_minute, seed)), as_json, as_table)


@app.command("replay")
def replay_recording(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A recording.")],
    url: Annotated[str | None, typer.Option(help="Address of the receiver; default the configured one.")] = None,
    secret: Annotated[str, typer.Option(help="Signs the deliveries.")] = SANDBOX_WEBHOOK_SECRET,
    speed: Annotated[float, typer.Option(help="How much faster than recorded.")] = 1.0,
    faults: Annotated[str | None, typer.Option(help='What goes wrong, e.g. "duplicate=0.01,reorder=0.05,malformed=0.001".')] = None,
    as_json: Json = False,
) -> None:
    """Send recorded webhooks again, at their own pace, until each is acknowledged."""
    from commerce_assets.sandbox import replay as replaying
    from commerce_assets.sandbox.faults import parse_webhook_faults

    settings = load_settings()
    address = url or f"http://{settings.events_host}:{settings.events_port}/webhooks/shopify"
    show(replaying.replay(file, address, secret, speed=speed, faults=parse_webhook_faults(faults)).as_json(), as_json, as_table)
