"""`metafieldsSet`, `metafieldsDelete`, `metafieldDefinitionCreate`, `metafieldDefinitionDelete`, and metafields given with other inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import Doc, gid, gid_number, parse_gid
from commerce_assets.sandbox.mutations import metafield_types as types
from commerce_assets.sandbox.mutations._shared import Rejected, mutation, new_gid, number_of, user_error
from commerce_assets.sandbox.store import TABLES

SET_LIMIT = 25
KEY_LENGTH = (2, 64)
NAMESPACE_LENGTH = (3, 255)
NAME_LENGTH = 255
DESCRIPTION_LENGTH = 255
PIN_LIMIT = 50
RESERVED = frozenset({"protected", "shopify_standard", "shopify-l10n-fields"})
APP_NAMESPACE = "$app"
ACCESS_DENIED = "API client to have access to the namespace and the resource type associated with the metafield definition.\n"
STALE = "The resource has been updated since it was loaded. Try again with an updated `compareDigest` value."
OWNER_KINDS = {
    "Article": "ARTICLE",
    "Blog": "BLOG",
    "Collection": "COLLECTION",
    "Company": "COMPANY",
    "CompanyLocation": "COMPANY_LOCATION",
    "Customer": "CUSTOMER",
    "DraftOrder": "DRAFTORDER",
    "Location": "LOCATION",
    "Market": "MARKET",
    "Order": "ORDER",
    "Page": "PAGE",
    "Product": "PRODUCT",
    "ProductVariant": "PRODUCTVARIANT",
    "Shop": "SHOP",
}
OWNER_NAMES = {"PRODUCTVARIANT": "Variant", "DRAFTORDER": "Draft order", "COMPANY_LOCATION": "Company location"}
# A change of a metafield counts as a change of its owner here.
BUMPED = frozenset({"Customer", "Order", "Product"})
INVALID_CHARACTERS = re.compile(r"[^a-zA-Z0-9_-]")
SMART_TYPES = frozenset({"boolean", "number_integer", "number_decimal", "rating", "single_line_text_field", "metaobject_reference"})
UNIQUE_TYPES = frozenset({"id", "number_integer", "single_line_text_field", "url"})


@dataclass(frozen=True)
class Write:
    """One metafield to be written, checked and in the form in which it is kept."""

    owner: str
    namespace: str
    key: str
    type: str
    value: str


def app_namespace(ctx: Context, namespace: str | None) -> str:
    """A namespace with `$app` (the default) spelled out for the app that asks."""
    wanted = namespace or APP_NAMESPACE
    if not wanted.startswith(APP_NAMESPACE):
        return wanted
    own = f"app--{gid_number(ctx.app_id)}"
    rest = wanted[len(APP_NAMESPACE) :].lstrip(":")
    return f"{own}--{rest}" if rest else own


def owner_exists(ctx: Context, owner: str) -> bool:
    """Whether this gid names something that can have metafields."""
    try:
        kind, number = parse_gid(owner)
    except ValueError:
        return False
    if kind == "Shop":
        return bool(ctx.shop.get("id") == owner)
    return kind in OWNER_KINDS and object_exists(ctx, owner, (kind,)) and number > 0


def object_exists(ctx: Context, value: str, kinds: Sequence[str]) -> bool:
    """Whether an object of one of these types has this gid."""
    try:
        kind, number = parse_gid(value)
    except ValueError:
        return False
    if kind not in kinds:
        return False
    table = TABLES.get(kind)
    if table is None:
        return ctx.store.get(kind, number) is not None
    return ctx.store.count(kind, "t.id = ?", (number,)) > 0


def definition_of(ctx: Context, owner_type: str, namespace: str, key: str) -> Doc | None:
    """The definition of a metafield, if there is one."""
    where = "t.owner_type = ? AND t.namespace = ? AND t.key = ?"
    return next((doc for _, _, doc in ctx.store.iterate("MetafieldDefinition", where, (owner_type, namespace, key), limit=1)), None)


def check(ctx: Context, owner_kind: str, entry: Doc, path: Sequence[str | int]) -> tuple[Write | None, list[Doc]]:
    """One metafield input, without its owner: what to write, or the user errors (`path` leads to it)."""
    namespace, key = app_namespace(ctx, entry.get("namespace")), entry.get("key") or ""
    errors = _name_errors(namespace, key, path)
    if namespace in RESERVED:
        errors.append(user_error([*path, "namespace"], f"Namespace {namespace} is a reserved namespace", elementIndex=None))
    if errors:
        return None, errors
    definition = definition_of(ctx, OWNER_KINDS[owner_kind], namespace, key)
    kind = entry.get("type") or (definition["type"]["name"] if definition else None)
    if kind is None:
        return None, [user_error([*path, "type"], "Type can't be blank", "BLANK", elementIndex=None)]
    if not types.is_value_type(kind):
        message = f"Type must be one of the following: {', '.join(types.VALUE_TYPES)}."
        return None, [user_error([*path, "type"], message, "INCLUSION", elementIndex=None)]
    if definition and kind != definition["type"]["name"]:
        message = f"Type must be consistent with the definition's type: {definition['type']['name']}."
        return None, [user_error([*path, "type"], message, "INVALID_TYPE", elementIndex=None)]
    try:
        value = types.read_value(
            kind,
            entry.get("value") or "",
            lambda value, kinds: object_exists(ctx, value, kinds),
            list(definition.get("validations") or ()) if definition else [],
        )
    except types.Problem as problem:
        return None, [user_error([*path, "value"], problem.message, "INVALID_VALUE", elementIndex=problem.element)]
    return Write("", namespace, key, kind, value), []


def _name_errors(namespace: str, key: str, path: Sequence[str | int]) -> list[Doc]:
    errors = []
    for field, name, text, (least, most) in (("namespace", "Namespace", namespace, NAMESPACE_LENGTH), ("key", "Key", key, KEY_LENGTH)):
        if len(text) < least:
            errors.append(
                user_error([*path, field], f"{name} is too short (minimum is {least} characters)", "TOO_SHORT", elementIndex=None)
            )
        elif len(text) > most:
            errors.append(user_error([*path, field], f"{name} is too long (maximum is {most} characters)", "TOO_LONG", elementIndex=None))
    return errors


def write(ctx: Context, writes: Sequence[Write]) -> list[Doc]:
    """Write checked metafields; those that already stand there alike are left alone. Owners' update times move."""
    now = ctx.now()
    written: list[Doc] = []
    for entry in writes:
        old = ctx.store.metafield(entry.owner, entry.namespace, entry.key)
        if old and old["type"] == entry.type and old["value"] == entry.value:
            written.append(dict(old))
            continue
        written.append(dict(ctx.store.set_metafield(entry.owner, entry.namespace, entry.key, entry.type, entry.value, now)))
        bump(ctx, entry.owner, now)
    return written


def bump(ctx: Context, owner: str, at: str) -> None:
    """The owner of a changed metafield counts as changed (customers, orders, products and their variants)."""
    kind, number = parse_gid(owner)
    if kind == "ProductVariant":
        parent = ctx.store.parent_id(kind, number)
        if parent is None:
            return
        kind, number = "Product", parent
    if kind not in BUMPED:
        return
    doc = ctx.store.get(kind, number)
    if doc is not None and doc.get("updatedAt") != at:
        ctx.store.put(kind, {**doc, "updatedAt": at})


def check_given(ctx: Context, owner_kind: str, entries: Sequence[Doc], path: Sequence[str | int]) -> tuple[list[Write], list[Doc]]:
    """The `metafields` of another input (customerCreate, orderUpdate, …): what to write, and the user errors."""
    writes, errors = [], []
    for index, entry in enumerate(entries):
        checked, wrong = check(ctx, owner_kind, entry, [*path, index])
        errors.extend(wrong)
        if checked:
            writes.append(checked)
    return writes, errors


def owned_by(owner: str, writes: Sequence[Write]) -> list[Write]:
    """Checked metafields, now that their owner has an id."""
    return [Write(owner, entry.namespace, entry.key, entry.type, entry.value) for entry in writes]


@mutation
def metafields_set(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Create or change up to 25 metafields, all or none."""
    entries = args["metafields"]
    if len(entries) > SET_LIMIT:
        message = f"Exceeded the maximum metafields input limit of {SET_LIMIT}."
        raise Rejected([user_error(["metafields"], message, "LESS_THAN_OR_EQUAL_TO", elementIndex=None)], metafields=None)
    writes: list[Write] = []
    errors: list[Doc] = []
    for index, entry in enumerate(entries):
        path: list[str | int] = ["metafields", index]
        owner = entry["ownerId"]
        if not owner_exists(ctx, owner):
            errors.append(user_error([*path, "ownerId"], "Owner does not exist.", "INVALID_VALUE", elementIndex=None))
            continue
        checked, wrong = check(ctx, parse_gid(owner)[0], entry, path)
        errors.extend(wrong)
        if checked:
            (owned,) = owned_by(owner, [checked])
            errors.extend(_digest_errors(ctx, entry, owned, path))
            writes.append(owned)
    if errors:
        raise Rejected(errors, metafields=[])
    return {"metafields": write(ctx, writes)}


def _digest_errors(ctx: Context, entry: Doc, wanted: Write, path: Sequence[str | int]) -> list[Doc]:
    """`compareDigest`: left out, nothing is compared; null, the metafield must not exist; else it must be as it was seen."""
    if "compareDigest" not in entry:
        return []
    old = ctx.store.metafield(wanted.owner, wanted.namespace, wanted.key)
    seen = entry["compareDigest"]
    if old is None:
        return [] if seen is None else [user_error(path, "The compareDigest is invalid.", "INVALID_COMPARE_DIGEST", elementIndex=None)]
    if old["compareDigest"] == seen:
        return []
    # Recorded: a write that changes nothing passes whatever digest it carries.
    if seen is not None and old["type"] == wanted.type and old["value"] == wanted.value:
        return []
    return [user_error(path, STALE, "STALE_OBJECT", elementIndex=None)]


@mutation
def metafields_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Delete metafields; null stands where there was none."""
    now = ctx.now()
    deleted: list[Doc | None] = []
    for entry in args["metafields"]:
        owner, namespace, key = entry["ownerId"], entry["namespace"], entry["key"]
        try:
            gone = ctx.store.delete_metafield(owner, app_namespace(ctx, namespace), key)
        except ValueError:
            gone = False
        if gone:
            bump(ctx, owner, now)
        deleted.append({"ownerId": owner, "namespace": namespace, "key": key} if gone else None)
    return {"deletedMetafields": deleted}


# -- definitions


@mutation
def metafield_definition_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """A new definition, as the merchant's own or (namespace `$app…`) the app's."""
    wanted = args["definition"]
    namespace = app_namespace(ctx, wanted.get("namespace"))
    owner_type, key, kind = wanted["ownerType"], wanted["key"], wanted["type"]
    if namespace == "shopify" or namespace.startswith("shopify--"):
        raise RequestError(
            f"Access denied for metafieldDefinitionCreate field. Required access: {ACCESS_DENIED}",
            code="ACCESS_DENIED",
            documentation="https://shopify.dev/api/usage/access-scopes",
            requiredAccess=ACCESS_DENIED,
        )
    errors = _definition_errors(ctx, wanted, namespace)
    if errors:
        raise Rejected(errors, createdDefinition=None)
    definition = {
        "id": new_gid(ctx.store, "MetafieldDefinition"),
        "name": wanted["name"],
        "namespace": namespace,
        "key": key,
        "ownerType": owner_type,
        "type": {"name": kind, "category": types.category(kind)},
        "description": wanted.get("description"),
        "validations": [
            {"name": rule["name"], "type": "single_line_text_field", "value": rule["value"]} for rule in wanted.get("validations") or ()
        ],
        "pinnedPosition": pins(ctx, owner_type) + 1 if wanted.get("pin") else None,
        "validationStatus": "ALL_VALID",
        "access": _access(wanted.get("access") or {}, namespace),
        "capabilities": capabilities_of(wanted.get("capabilities") or {}, kind),
    }
    ctx.store.put("MetafieldDefinition", definition)
    return {"createdDefinition": definition}


def _definition_errors(ctx: Context, wanted: Doc, namespace: str) -> list[Doc]:
    owner_type, key, kind = wanted["ownerType"], wanted["key"], wanted["type"]
    errors = [{**error, "elementIndex": None} for error in _name_errors(namespace, key, ["definition"])]
    sized = {error["field"][-1] for error in errors}
    for field, text in (("namespace", namespace), ("key", key)):
        if field not in sized and INVALID_CHARACTERS.search(text):
            message = f"{field.capitalize()} contains one or more invalid characters."
            errors.append(user_error(["definition", field], message, "INVALID_CHARACTER"))
    if not wanted["name"].strip():
        errors.append(user_error(["definition", "name"], "Name can't be blank", "BLANK"))
    for field, most in (("name", NAME_LENGTH), ("description", DESCRIPTION_LENGTH)):
        if len(wanted.get(field) or "") > most:
            message = f"{field.capitalize()} is too long (maximum is {most} characters)"
            errors.append(user_error(["definition", field], message, "TOO_LONG"))
    if not types.is_definition_type(kind):
        message = f"Type name {kind} is not a valid type. Valid types are: {', '.join(types.DEFINITION_TYPES)}."
        errors.append(user_error(["definition", "type"], message, "INCLUSION"))
    if errors:
        return errors
    for rule in wanted.get("validations") or ():
        problem = types.option_problem(kind, rule)
        if problem:
            errors.append(user_error(["definition", "validations"], problem, "INVALID_OPTION"))
    if (wanted.get("access") or {}).get("admin") and not namespace.startswith("app--"):
        message = 'Setting this access control is not permitted. It must be one of ["public_read_write"].'
        errors.append(user_error(["definition"], message, "INVALID"))
    for capability, fitting in (("smartCollectionCondition", SMART_TYPES), ("uniqueValues", UNIQUE_TYPES)):
        asked = (wanted.get("capabilities") or {}).get(capability) or {}
        if asked.get("enabled") and kind not in fitting:
            name = re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), capability)
            message = f"The capability {name} is not valid for this definition."
            errors.append(user_error(["definition"], message, "INVALID_CAPABILITY"))
    if not errors and definition_of(ctx, owner_type, namespace, key):
        owners = OWNER_NAMES.get(owner_type, owner_type.replace("_", " ").capitalize())
        message = f"Key is in use for {owners} metafields on the '{namespace}' namespace."
        errors.append(user_error(["definition", "key"], message, "TAKEN"))
    if not errors and wanted.get("pin"):
        if wanted.get("constraints"):
            errors.append(user_error(["definition"], "Constrained metafield definitions do not support pinning.", "UNSUPPORTED_PINNING"))
        elif pins(ctx, owner_type) >= PIN_LIMIT:
            errors.append(user_error(["definition"], f"Limit of {PIN_LIMIT} pinned definitions.", "PINNED_LIMIT_REACHED"))
    return errors


def pins(ctx: Context, owner_type: str) -> int:
    """How many definitions of an owner type are pinned."""
    definitions = ctx.store.iterate("MetafieldDefinition", "t.owner_type = ?", (owner_type,))
    return sum(doc.get("pinnedPosition") is not None for _, _, doc in definitions)


def _access(wanted: Doc, namespace: str) -> Doc:
    own = namespace.startswith("app--")
    return {
        "admin": wanted.get("admin") or ("MERCHANT_READ_WRITE" if own else "PUBLIC_READ_WRITE"),
        "storefront": wanted.get("storefront") or "NONE",
        "customerAccount": wanted.get("customerAccount") or "NONE",
    }


def capabilities_of(wanted: Doc, kind: str) -> Doc:
    """A definition's capabilities, as asked for and as its type allows."""
    enabled = {
        name: bool((wanted.get(name) or {}).get("enabled")) for name in ("adminFilterable", "smartCollectionCondition", "uniqueValues")
    }
    return {
        "adminFilterable": {
            "enabled": enabled["adminFilterable"],
            "eligible": True,
            "status": "FILTERABLE" if enabled["adminFilterable"] else "NOT_FILTERABLE",
        },
        "smartCollectionCondition": {"enabled": enabled["smartCollectionCondition"], "eligible": kind in SMART_TYPES},
        "uniqueValues": {"enabled": enabled["uniqueValues"] or kind == "id", "eligible": kind in UNIQUE_TYPES},
    }


@mutation
def metafield_definition_delete(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Remove a definition, and its metafields when asked to."""
    nothing: dict[str, Any] = {"deletedDefinition": None, "deletedDefinitionId": None}
    identifier = args.get("identifier")
    if args.get("id") is not None:
        definition = ctx.store.get("MetafieldDefinition", number_of(args["id"], "MetafieldDefinition"))
    elif identifier:
        definition = definition_of(ctx, identifier["ownerType"], app_namespace(ctx, identifier.get("namespace")), identifier["key"])
    else:
        raise Rejected([user_error(["id"], "Definition id or identifier is required.", "PRESENT")], **nothing)
    if definition is None:
        raise Rejected([user_error(["id"], "Definition not found.", "NOT_FOUND")], **nothing)
    ctx.store.delete("MetafieldDefinition", gid_number(definition["id"]), ctx.now())
    if args.get("deleteAllAssociatedMetafields"):
        kind = next(kind for kind, owner_type in OWNER_KINDS.items() if owner_type == definition["ownerType"])
        sql = "SELECT owner_id FROM metafields WHERE owner_kind = ? AND namespace = ? AND key = ?"
        for (owner,) in ctx.store.connection.execute(sql, (kind, definition["namespace"], definition["key"])).fetchall():
            ctx.store.delete_metafield(gid(kind, owner), definition["namespace"], definition["key"])
    names = ("ownerType", "namespace", "key")
    return {"deletedDefinitionId": definition["id"], "deletedDefinition": {name: definition[name] for name in names}}
