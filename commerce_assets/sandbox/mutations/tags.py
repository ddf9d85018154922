"""`tagsAdd` and `tagsRemove` on orders, customers, products, and whatever else has tags."""

from __future__ import annotations

from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.mutations._shared import (
    Rejected,
    mutation,
    number_of,
    shop_casing,
    sorted_tags,
    split_tags,
    tag_problem,
    user_error,
)

# Names as user errors spell them ("Draft order does not exist").
TAGGABLE = {"Product": "Product", "Customer": "Customer", "Order": "Order", "DraftOrder": "Draft order", "Article": "Article"}
# Recorded: removing "red" takes "Red" from a customer, and nothing from an order, a draft order or an article.
CASE_SENSITIVE_REMOVAL = frozenset({"Order", "DraftOrder", "Article"})


def _target(ctx: Context, value: str) -> tuple[str, int, list[str]]:
    number = number_of(value, *TAGGABLE)
    kind = next(kind for kind in TAGGABLE if value.startswith(f"gid://shopify/{kind}/"))
    doc = ctx.store.get(kind, number)
    if doc is None:
        raise Rejected([user_error(["id"], f"{TAGGABLE[kind]} does not exist")], node=None)
    return kind, number, list(doc.get("tags") or ())


@mutation
def tags_add(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Add tags; one already there in another casing stays as it is."""
    kind, number, old = _target(ctx, args["id"])
    wanted = split_tags(args["tags"])
    known = {tag.casefold() for tag in old}
    fresh = [tag for tag in wanted if tag.casefold() not in known]
    if kind == "Customer":
        fresh = shop_casing(ctx.store, fresh)
    problem = tag_problem([*old, *fresh])
    if problem:
        raise Rejected([user_error(["tags"], problem)], node=None)
    if fresh:
        ctx.store.set_tags(kind, number, sorted_tags([*old, *fresh]), ctx.now())
    return {"node": {"id": args["id"]}}


@mutation
def tags_remove(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Remove tags; those not there are passed over."""
    kind, number, old = _target(ctx, args["id"])
    wanted = split_tags(args["tags"])
    if kind in CASE_SENSITIVE_REMOVAL:
        kept = [tag for tag in old if tag not in wanted]
    else:
        gone = {tag.casefold() for tag in wanted}
        kept = [tag for tag in old if tag.casefold() not in gone]
    if len(kept) != len(old):
        ctx.store.set_tags(kind, number, kept, ctx.now())
    return {"node": {"id": args["id"]}}
