"""`customerCreate`, `customerUpdate`, `customerDelete`."""

from __future__ import annotations

import re
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, gid, gid_number
from commerce_assets.sandbox.mutations import metafields
from commerce_assets.sandbox.mutations._shared import (
    Rejected,
    given,
    moment,
    mutation,
    new_gid,
    number_of,
    shop_casing,
    sorted_tags,
    split_tags,
    tag_problem,
    user_error,
)
from commerce_assets.sandbox.mutations.places import address

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+$")
PHONE = re.compile(r"\+?[\d\s().-]{6,20}$")
NAMELESS = "A name, phone number, or email address must be present"
DOES_NOT_EXIST = "Customer does not exist"
LIMITS = {"firstName": ("First name", 255), "lastName": ("Last name", 255), "note": ("Note", 5000), "email": ("Email", 255)}
PLAIN = ("note", "taxExempt", "taxExemptions", "multipassIdentifier")


@mutation
def customer_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """A new customer."""
    wanted = args["input"]
    if wanted.get("id") is not None:
        raise Rejected([user_error(["id"], "Cannot specify ID on creation")], customer=None)
    now = ctx.now()
    customer = {"state": "DISABLED", "locale": "en", "createdAt": now, "updatedAt": now}
    return _save(ctx, customer, wanted, now)


@mutation
def customer_update(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Change what is given; `tags` replaces all tags of the customer, as in the real store."""
    wanted = args["input"]
    if wanted.get("id") is None:
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], customer=None)
    customer = ctx.store.get("Customer", number_of(wanted["id"], "Customer"))
    if customer is None:
        raise Rejected([user_error(["id"], DOES_NOT_EXIST)], customer=None)
    return _save(ctx, customer, wanted, ctx.now())


def _save(ctx: Context, old: Doc, wanted: dict[str, Any], now: str) -> dict[str, Any]:
    customer = {**old, **given(wanted, *PLAIN)}
    for name in ("firstName", "lastName"):
        if name in wanted:
            customer[name] = (wanted[name] or "").strip() or None
    if "locale" in wanted:
        customer["locale"] = wanted["locale"] or "en"
    errors = _contact(ctx, customer, wanted, now)
    tags: list[str] = []
    if "tags" in wanted:
        tags = shop_casing(ctx.store, split_tags(wanted["tags"]))
        problem = tag_problem(tags)
        if problem:
            errors.append(user_error(["tags"], problem))
        customer["tags"] = sorted_tags(tags)
    for name, (shown, most) in LIMITS.items():
        if len(str(wanted.get(name) or "")) > most:
            errors.append(user_error([name], f"{shown} is too long (maximum is {most} characters)"))
    writes, wrong = metafields.check_given(ctx, "Customer", wanted.get("metafields") or (), ["metafields"])
    errors.extend(wrong)
    if not errors and not _identified(customer):
        errors.append(user_error(None, NAMELESS))
    if errors:
        raise Rejected(errors, customer=None)
    if "id" not in customer:
        customer["id"] = new_gid(ctx.store, "Customer")
    if "addresses" in wanted:
        names = {name: customer[name] for name in ("firstName", "lastName") if customer.get(name)}
        kept = [
            address({**names, **entry}, entry.get("id") or gid("MailingAddress", ctx.store.next_id("MailingAddress")))
            for entry in wanted["addresses"] or ()
        ]
        customer["addressesV2"] = kept
        customer["defaultAddress"] = {"id": kept[0]["id"]} if kept else None
    customer["updatedAt"] = now
    ctx.store.put("Customer", customer)
    metafields.write(ctx, metafields.owned_by(customer["id"], writes))
    return {"customer": {"id": customer["id"]}}


def _identified(customer: Doc) -> bool:
    contacts = (customer.get("defaultEmailAddress"), customer.get("defaultPhoneNumber"))
    return any((customer.get("firstName"), customer.get("lastName"), *contacts))


def _contact(ctx: Context, customer: Doc, wanted: dict[str, Any], now: str) -> list[Doc]:
    """E-mail, phone and consents into the customer; returns what is wrong with them."""
    errors: list[Doc] = []
    own = gid_number(customer["id"]) if "id" in customer else 0
    if "email" in wanted:
        email = (wanted["email"] or "").strip() or None
        if email and not EMAIL.match(email):
            errors.append(user_error(["email"], "Email is invalid"))
        elif email and _taken(ctx, "email", email, own):
            errors.append(user_error(["email"], "Email has already been taken"))
        else:
            customer["defaultEmailAddress"] = {**(customer.get("defaultEmailAddress") or {}), "emailAddress": email} if email else None
            customer["verifiedEmail"] = email is not None
    if "phone" in wanted:
        phone = re.sub(r"[\s().-]", "", wanted["phone"] or "") or None
        if phone and not PHONE.match(phone):
            errors.append(user_error(["phone"], "Phone is invalid"))
        elif phone and _taken(ctx, "phone", phone, own):
            errors.append(user_error(["phone"], "Phone has already been taken"))
        else:
            customer["defaultPhoneNumber"] = {**(customer.get("defaultPhoneNumber") or {}), "phoneNumber": phone} if phone else None
    for argument, field, contact in (
        ("emailMarketingConsent", "defaultEmailAddress", "An email address"),
        ("smsMarketingConsent", "defaultPhoneNumber", "A phone number"),
    ):
        consent = wanted.get(argument)
        if not consent:
            continue
        if not customer.get(field):
            errors.append(user_error([argument], f"{contact} is required to set the marketing consent state"))
            continue
        customer[field] = {
            **customer[field],
            "marketingState": consent["marketingState"],
            "marketingOptInLevel": consent.get("marketingOptInLevel") or "SINGLE_OPT_IN",
            "marketingUpdatedAt": moment(consent.get("consentUpdatedAt"), now),
        }
    return errors


def _taken(ctx: Context, column: str, value: str, own: int) -> bool:
    return ctx.store.count("Customer", f"t.{column} = ? AND t.id <> ?", (value, own), limit=1) > 0


@mutation
def customer_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Remove a customer without orders."""
    identity = args["input"]["id"]
    shop = {"shop": ctx.shop}
    number = number_of(identity, "Customer")
    if ctx.store.count("Customer", "t.id = ?", (number,)) == 0:
        raise Rejected([user_error(["id"], "Customer can't be found")], deletedCustomerId=None, **shop)
    if ctx.store.count("Order", "t.customer_id = ?", (number,), limit=1):
        message = "Customer can’t be deleted because they have associated orders"
        raise Rejected([user_error(["id"], message)], deletedCustomerId=None, **shop)
    ctx.store.delete("Customer", number, ctx.now())
    return {"deletedCustomerId": identity, **shop}
