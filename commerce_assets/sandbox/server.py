"""The HTTP face of the sandbox store: routes, headers, faults; `serve` runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hmac
import re
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from commerce_assets.sandbox.auth import Authority, Grant
from commerce_assets.sandbox.bulk import Runner
from commerce_assets.sandbox.context import Context, report, utc_now
from commerce_assets.sandbox.cost import PLANS, Bucket
from commerce_assets.sandbox.documents import instant, shop_doc
from commerce_assets.sandbox.faults import Fault, Faults, parse_webhook_faults, read_faults
from commerce_assets.sandbox.mutations.staged_uploads import ROUTE, UploadRefused, accept_staged_upload
from commerce_assets.sandbox.reading import SUPPORTED_VERSIONS, load_schema, served_version
from commerce_assets.sandbox.schema import answer
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks import admin
from commerce_assets.sandbox.webhooks.changes import Recorder
from commerce_assets.sandbox.webhooks.clock import ClockError, RetryClock
from commerce_assets.sandbox.webhooks.delivery import SECRET, Deliverer, DeliveryOptions
from commerce_assets.sandbox.webhooks.subscriptions import Directory

GROUPED_BEFORE = "2026-01"
CHUNK = 1 << 16
UNAUTHORIZED = "[API] Invalid API key or access token (unrecognized login or wrong password)"
EXPIRED_XML = (
    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>Invalid argument.</Message>"
    "<Details>The provided token has expired.</Details></Error>"
)
DENIED_XML = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>SignatureDoesNotMatch</Code><Message>Access denied.</Message></Error>"
VERSION = re.compile(r"\d{4}-\d{2}|unstable")


@dataclass
class Sandbox:
    """One running store: what its routes need."""

    store: Store
    authority: Authority
    faults: Faults
    rate: float
    webhooks: DeliveryOptions = field(default_factory=DeliveryOptions)
    runner: Runner = field(init=False)
    recorder: Recorder = field(init=False)
    deliverer: Deliverer = field(init=False)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    clock: Callable[[], dt.datetime] = utc_now

    def __post_init__(self) -> None:
        """An empty store gets a shop, so that every request has one; from now on changes are recorded for subscribers."""
        if self.store.shop() is None:
            self.store.set_shop(shop_doc("Sandbox Store", "sandbox-store.myshopify.com", "GBP", "Europe/London", instant(self.clock())))
        directory = Directory(self.store)
        self.deliverer = Deliverer(self.store, directory, self.webhooks)
        self.recorder = Recorder(directory, self.deliverer.wake)
        self.store.watcher = self.recorder
        self.runner = Runner(self.store, self.faults)

    def bucket(self, grant: Grant) -> Bucket:
        """The leaky bucket of an app."""
        return self.buckets.setdefault(grant.app, Bucket(self.rate))

    def context(self, request: Request, grant: Grant, asked: str) -> Context:
        """What resolvers are told about a request."""
        return Context(
            store=self.store,
            shop=self.store.shop() or {},
            api_version=served_version(asked),
            scopes=grant.scopes,
            base_url=f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}",
            clock=self.clock,
            bulk=self.runner,
            groups_by_default=asked < GROUPED_BEFORE,
        )


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer, in the store's own encoding."""
    return Response(orjson.dumps(body), status, {"X-Request-ID": str(uuid.uuid4()), **(headers or {})}, "application/json; charset=utf-8")


# -- faults around a route


class CutResponse(Response):
    """Announces the whole body, sends a part of it, and breaks the connection off."""

    def __init__(self, whole: Response, share: float) -> None:
        """`share` of the body of `whole` is sent."""
        super().__init__(status_code=whole.status_code)
        self.whole = whole
        self.share = share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head with the full length, some of the body, and fail."""
        started = asyncio.Event()
        parts: list[bytes] = []
        head: dict[str, Any] = {}

        async def collect(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
            started.set()

        await self.whole(scope, receive, collect)
        body = b"".join(parts)
        headers = [(key, value) for key, value in head["headers"] if key.lower() not in (b"content-length", b"transfer-encoding")]
        await send({**head, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body[: int(len(body) * self.share)], "more_body": True})
        raise ConnectionAbortedError("fault: the connection is cut here")


Handler = Callable[[Request], Awaitable[Response]]


def with_faults(where: str, sandbox: Sandbox, handler: Handler) -> Handler:
    """A route that suffers the faults of its class."""

    async def handle(request: Request) -> Response:
        text = str(request.url.path)
        if where == "graphql":
            text += "\n" + (await request.body()).decode(errors="replace")
        struck = {fault.kind: fault for fault in sandbox.faults.strike(where, text)}
        if "timeout" in struck:
            await asyncio.sleep(float(struck["timeout"].option("seconds", 60)))
            return CutResponse(Response(b" "), 0)
        if "slow" in struck:
            await asyncio.sleep(float(struck["slow"].option("seconds", 1)))
        instead = _instead(struck)
        if instead is not None:
            return instead
        request.state.faults = struck
        response = await handler(request)
        return CutResponse(response, float(struck["cut_connection"].option("at", 0.5))) if "cut_connection" in struck else response

    return handle


def _instead(struck: dict[str, Fault]) -> Response | None:
    for kind, status, title in (("http_500", 500, "Internal Server Error"), ("http_503", 503, "Service Unavailable")):
        if kind in struck:
            return Response(f"<html><body><h1>{status} {title}</h1></body></html>", status, media_type="text/html")
    if "http_429" in struck:
        seconds = struck["http_429"].option("seconds", 1)
        return json_response(
            {"errors": "Exceeded call limit. Reduce request rates to resume uninterrupted service."},
            429,
            {"Retry-After": str(float(seconds))},
        )
    if "token_expired" in struck:
        return json_response({"errors": UNAUTHORIZED}, 401)
    if "url_expired" in struck:
        return Response(EXPIRED_XML, 400, media_type="application/xml; charset=UTF-8")
    return None


# -- routes


def build_app(sandbox: Sandbox) -> Starlette:
    """The ASGI application of a store."""

    async def granted(request: Request) -> Grant | None:
        token = request.headers.get("x-shopify-access-token")
        return sandbox.authority.check_static(token) or await run_in_threadpool(sandbox.authority.check, token)

    async def healthz(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def graphql(request: Request) -> Response:
        asked = request.path_params["version"]
        if not VERSION.fullmatch(asked):
            return json_response({"errors": "Not Found"}, 404)
        grant = await granted(request)
        if grant is None:
            return json_response({"errors": UNAUTHORIZED}, 401)
        text, variables, name = await _graphql_request(request)
        if isinstance(text, Response):
            return text
        struck: dict[str, Fault] = request.state.faults
        bucket = sandbox.bucket(grant)
        if "throttled" in struck:
            bucket.empty()
        context = sandbox.context(request, grant, asked)
        try:
            body = await run_in_threadpool(answer, context, text, variables, name, bucket)
        except Exception as problem:
            report(problem)
            return json_response({"errors": "Internal Server Error"}, 500)
        version = struck["wrong_version"].option("version", SUPPORTED_VERSIONS[0]) if "wrong_version" in struck else context.api_version
        return json_response(body, 200, {"X-Shopify-API-Version": version, "X-Shopify-Stage": "sandbox"})

    async def shop(request: Request) -> Response:
        grant = await granted(request)
        if grant is None:
            return json_response({"errors": UNAUTHORIZED}, 401)
        doc = sandbox.store.shop() or {}
        body = {
            "id": int(doc["id"].rpartition("/")[2]),
            "name": doc["name"],
            "email": doc.get("email"),
            "domain": doc["myshopifyDomain"],
            "myshopify_domain": doc["myshopifyDomain"],
            "currency": doc["currencyCode"],
            "iana_timezone": doc.get("ianaTimezone", "UTC"),
            "created_at": doc.get("createdAt"),
            "plan_display_name": doc.get("plan", {}).get("publicDisplayName", "Basic"),
        }
        return json_response({"shop": body}, 200, {"X-Shopify-API-Version": served_version(request.path_params["version"])})

    async def access_scopes(request: Request) -> Response:
        grant = await granted(request)
        if grant is None:
            return json_response({"errors": UNAUTHORIZED}, 401)
        return json_response({"access_scopes": [{"handle": handle} for handle in sorted(grant.scopes)]})

    async def access_token(request: Request) -> Response:
        kind = request.headers.get("content-type", "")
        if "json" in kind:
            try:
                form = orjson.loads(await request.body())
            except orjson.JSONDecodeError:
                form = None
        else:
            form = dict(urllib.parse.parse_qsl((await request.body()).decode(errors="replace")))
        if not isinstance(form, dict):
            return json_response({"error": "invalid_request", "error_description": "The request has no readable parameters."}, 400)
        status, body = await run_in_threadpool(sandbox.authority.grant, form)
        return json_response(body, status, {"Cache-Control": "no-store"})

    async def bulk_output(request: Request) -> Response:
        name, query = request.path_params["name"], request.query_params
        expires = query.get("Expires", "")
        signature = query.get("Signature", "")
        if not hmac.compare_digest(signature.encode(), sandbox.runner.signature(name, expires).encode()):
            return Response(DENIED_XML, 403, media_type="application/xml; charset=UTF-8")
        if not expires.isdecimal() or int(expires) < time.time():
            return Response(EXPIRED_XML, 400, media_type="application/xml; charset=UTF-8")
        path = sandbox.runner.folder / Path(name).name
        if not path.is_file():
            return Response(status_code=404)
        return file_response(path, request, query)

    async def staged_upload(request: Request) -> Response:
        async with request.form(max_part_size=128 * 1024 * 1024) as form:
            key, file = form.get("key"), form.get("file")
            if not isinstance(key, str) or file is None or isinstance(file, str):
                return PlainTextResponse("the form needs a field `key` and, last, a file `file`", 400)
            try:
                await run_in_threadpool(accept_staged_upload, sandbox.store.folder, key, file.file)
            except UploadRefused as refusal:
                return PlainTextResponse(str(refusal), 403)
        location = f"{str(request.url).split('?')[0]}{key}"
        body = f"<?xml version='1.0' encoding='UTF-8'?><PostResponse><Location>{location}</Location><Key>{key}</Key></PostResponse>"
        return Response(body, 201, {"Location": location}, "application/xml; charset=UTF-8")

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 16
        for version in SUPPORTED_VERSIONS:
            load_schema(version)
        sandbox.deliverer.start()
        try:
            yield
        finally:
            await run_in_threadpool(sandbox.deliverer.stop)

    routes = [
        Route("/healthz", healthz),
        Route("/admin/api/{version}/graphql.json", with_faults("graphql", sandbox, graphql), methods=["POST"]),
        Route("/admin/api/{version}/shop.json", shop),
        Route("/admin/oauth/access_scopes.json", access_scopes),
        Route("/admin/oauth/access_token", with_faults("token", sandbox, access_token), methods=["POST"]),
        Route("/bulk-operation-outputs/{name}", with_faults("download", sandbox, bulk_output)),
        Route(ROUTE, with_faults("upload", sandbox, staged_upload), methods=["POST"]),
        *admin.routes(sandbox.store, sandbox.recorder, sandbox.deliverer),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _graphql_request(request: Request) -> tuple[Any, Any, Any]:
    """(query, variables, operation name) of a request, or an error response in the place of the query."""
    raw = await request.body()
    if "application/graphql" in request.headers.get("content-type", ""):
        return raw.decode(errors="replace"), {}, None
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json_response({"errors": "Bad Request"}, 400), None, None
    if not isinstance(content, dict):
        return json_response({"errors": "Bad Request"}, 400), None, None
    variables = content.get("variables") or {}
    if isinstance(variables, str):
        with contextlib.suppress(orjson.JSONDecodeError):
            variables = orjson.loads(variables)
    if not isinstance(variables, dict):
        return json_response({"errors": {"variables": "must be an object"}}, 400), None, None
    return content.get("query"), variables, content.get("operationName")


def file_response(path: Path, request: Request, query: Any) -> Response:
    """A file, whole or the part that `Range` asks for; streamed."""
    size = path.stat().st_size
    start, end, status = 0, size - 1, 200
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if asked and (asked[1] or asked[2]):
        start = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        end = min(size - 1, int(asked[2])) if asked[1] and asked[2] else size - 1
        status = 206
        if start >= size or start > end:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers = {
        "Content-Length": str(end - start + 1),
        "Accept-Ranges": "bytes",
        "ETag": f'"{path.stat().st_mtime_ns:x}-{size:x}"',
        "Content-Disposition": query.get("response-content-disposition", "attachment"),
    }
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    kind = query.get("response-content-type", "application/octet-stream")
    return StreamingResponse(_part(path, start, end), status, headers, kind)


def _part(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start + 1
        while left > 0:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk


# -- running it


class ServerError(Exception):
    """The store cannot be served; the message says why."""


def serve(
    store_dir: Path | str,
    host: str = "127.0.0.1",
    port: int = 8810,
    access_token: str = "sandbox-token",  # noqa: S107 - opens nothing but the store on loopback
    client_id: str = "sandbox-client",
    client_secret: str = "sandbox-secret",  # noqa: S107
    plan: str = "standard",
    faults: Path | str | None = None,
    tls_cert: Path | str | None = None,
    tls_key: Path | str | None = None,
    webhook_secret: str = SECRET,
    webhook_clock_speed: float = 1.0,
    webhook_faults: str | None = None,
) -> None:
    """Serve the store in `store_dir` until the process is told to stop; prints one line when ready.

    Webhooks are signed with `webhook_secret` and retried on a clock that runs `webhook_clock_speed` times as fast;
    `webhook_faults` is as `faults.WebhookFaults` says.
    """
    if plan not in PLANS:
        raise ServerError(f"plan {plan!r} is unknown: choose one of {', '.join(PLANS)}")
    try:
        webhooks = DeliveryOptions(webhook_secret, RetryClock(webhook_clock_speed), parse_webhook_faults(webhook_faults))
    except ClockError as problem:
        raise ServerError(str(problem)) from problem
    store = Store(store_dir)
    sandbox = Sandbox(store, Authority(store, access_token, client_id, client_secret), read_faults(faults), PLANS[plan], webhooks)
    config = uvicorn.Config(
        build_app(sandbox),
        host=host,
        port=port,
        log_level="critical",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=3,
        timeout_keep_alive=75,  # customers who pause between two steps keep their connection
        ssl_certfile=None if tls_cert is None else str(tls_cert),
        ssl_keyfile=None if tls_key is None else str(tls_key),
    )
    server = _Announcing(config, f"sandbox store ready on {'https' if tls_cert else 'http'}://{host}:{port} (plan {plan})")
    try:
        server.run()
    except SystemExit as problem:
        raise ServerError(f"port {port} on {host} cannot be opened: is it in use?") from problem
    finally:
        store.close()
    if not server.started:
        raise ServerError(f"port {port} on {host} cannot be opened: is it in use?")


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, line: str) -> None:
        super().__init__(config)
        self.line = line

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self.line, flush=True)
