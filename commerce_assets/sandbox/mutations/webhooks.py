"""`webhookSubscriptionCreate`, `webhookSubscriptionUpdate`, `webhookSubscriptionDelete`.

Belongs here: what the API accepts of a subscription. Does not belong here: emitting and delivering (`sandbox/webhooks`).
Unlike the real store, this one delivers to plain `http://` where the host is loopback, and neither to EventBridge nor to Pub/Sub.
Metafields named in a subscription are kept and shown, but not added to the payloads.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc
from commerce_assets.sandbox.mutations._shared import Rejected, mutation, new_gid, number_of, user_error
from commerce_assets.sandbox.resolvers import app_namespace
from commerce_assets.sandbox.webhooks.subscriptions import KIND, is_filter, is_loopback

DOES_NOT_EXIST = "Webhook subscription does not exist"
INPUT = "webhookSubscription"
ADDRESS = (INPUT, "callbackUrl")
INTERNAL = ("shopify.com", "myshopify.com", "shopifycloud.com", "internal", "local")
NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")
NOTHING: dict[str, Any] = {"webhookSubscription": None}


@mutation
def webhook_subscription_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Subscribe an address to a topic."""
    now = ctx.now()
    blank: Doc = {
        "topic": args["topic"],
        "format": "JSON",
        "includeFields": [],
        "metafieldNamespaces": [],
        "metafields": [],
        "apiVersion": {"handle": ctx.api_version, "displayName": ctx.api_version, "supported": True},
        "createdAt": now,
    }
    wanted = args[INPUT]
    if wanted.get("uri") is None and wanted.get("callbackUrl") is None:
        wanted = {**wanted, "uri": ""}
    return _save(ctx, blank, wanted, now)


@mutation
def webhook_subscription_update(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Change what is given of a subscription; its topic stays."""
    old = ctx.store.get(KIND, number_of(args["id"], KIND))
    if old is None:
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], **NOTHING)
    return _save(ctx, old, args[INPUT], ctx.now())


@mutation
def webhook_subscription_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """End a subscription; what it has not been sent yet is dropped."""
    if not ctx.store.delete(KIND, number_of(args["id"], KIND), ctx.now()):
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], deletedWebhookSubscriptionId=None)
    return {"deletedWebhookSubscriptionId": args["id"]}


def _save(ctx: Context, old: Doc, wanted: dict[str, Any], now: str) -> dict[str, Any]:
    doc = {**old, "updatedAt": now}
    errors: list[Doc] = []
    given = wanted["uri"] if wanted.get("uri") is not None else wanted.get("callbackUrl")
    if given is not None:
        doc["uri"] = given.strip()
        problem = _address_problem(doc["uri"])
        if problem:
            errors.append(user_error(ADDRESS, problem))
    for name in ("includeFields", "metafieldNamespaces"):
        if name in wanted:
            doc[name] = wanted[name] or []
    if "metafields" in wanted:
        doc["metafields"] = [
            {"namespace": app_namespace(entry.get("namespace"), ctx), "key": entry["key"]} for entry in wanted["metafields"] or ()
        ]
    for name in ("filter", "name"):
        if name in wanted:
            doc[name] = wanted[name]
    if wanted.get("format") == "XML":
        errors.append(user_error([INPUT, "format"], "The sandbox store delivers JSON only"))
    if doc.get("filter") and not is_filter(doc["filter"]):
        message = "The specified filter is invalid, please ensure you specify the field(s) you wish to filter on."
        errors.append(user_error([INPUT], message))
    if doc.get("name") and not NAME.fullmatch(doc["name"]):
        message = "Name can only contain alphanumeric characters, underscores and hyphens, at most 50"
        errors.append(user_error([INPUT, "name"], message))
    if not errors and _is_taken(ctx, doc):
        errors.append(user_error(ADDRESS, "Address for this topic has already been taken"))
    if errors:
        raise Rejected(errors, **NOTHING)
    if "id" not in doc:
        doc["id"] = new_gid(ctx.store, KIND)
    ctx.store.put(KIND, doc)
    return {"webhookSubscription": {"id": doc["id"]}}


def _is_taken(ctx: Context, doc: Doc) -> bool:
    found = ctx.store.iterate(KIND, "t.topic = ? AND t.uri = ?", (doc["topic"], doc["uri"]))
    return any(other["id"] != doc.get("id") and (other.get("filter") or "") == (doc.get("filter") or "") for _, _, other in found)


def _address_problem(uri: str) -> str | None:
    """What is wrong with an address, in the real store's words where it has any; None where nothing is."""
    if not uri:
        return "Address can't be blank"
    if uri.startswith(("arn:", "pubsub:")):
        return "Address is not served by the sandbox store, which delivers over HTTP only"
    try:
        parts = urllib.parse.urlsplit(uri)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "Address is invalid"
    if parts.scheme not in ("http", "https"):
        return f"Address protocol {parts.scheme}:// is not supported" if parts.scheme else "Address is invalid"
    if not host or re.search(r"[\s\x00-\x1f]", uri):
        return "Address is invalid"
    if is_loopback(host):
        return None
    if parts.scheme == "http":
        return "Address protocol http:// is not supported"
    if any(host == name or host.endswith(f".{name}") for name in INTERNAL):
        return "Address cannot be a Shopify or an internal domain"
    return None
