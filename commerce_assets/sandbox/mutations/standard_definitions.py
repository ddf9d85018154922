"""`standardMetafieldDefinitionEnable`: metafield definitions whose namespace and key Shopify has set down for everyone.

The templates here are those that recordings speak of and those of product recommendations; the real list is longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import Doc, gid
from commerce_assets.sandbox.mutations import metafield_types as types
from commerce_assets.sandbox.mutations._shared import Rejected, mutation, new_gid, user_error
from commerce_assets.sandbox.mutations.metafields import PIN_LIMIT, SMART_TYPES, UNIQUE_TYPES, capabilities_of, definition_of, pins

RECOMMENDATION = "shopify--discovery--product_recommendation"
NOT_PERMITTED = 'Setting this access control is not permitted. It must be one of ["public_read_write"].'
ACCESS_IS_FIXED = "Setting access controls on a definition under this namespace is not permitted."
NOT_FOUND = "A standard definition wasn't found for the specified owner type, namespace, and key."


@dataclass(frozen=True)
class Template:
    """A standard definition that a shop can enable."""

    number: int
    name: str
    namespace: str
    key: str
    type: str
    owner_types: tuple[str, ...]
    validations: tuple[tuple[str, str], ...] = ()

    @property
    def is_reserved(self) -> bool:
        """Whether the namespace is Shopify's own: no other definition can be made there, and access is not the caller's to set."""
        return self.namespace == "shopify" or self.namespace.startswith("shopify--")


TEMPLATES = (
    Template(1, "Product subtitle", "descriptors", "subtitle", "single_line_text_field", ("PRODUCT", "PRODUCTVARIANT"), (("max", "70"),)),
    Template(2, "Care guide", "descriptors", "care_guide", "multi_line_text_field", ("PRODUCT", "PRODUCTVARIANT"), (("max", "500"),)),
    Template(3, "ISBN", "facts", "isbn", "single_line_text_field", ("PRODUCT", "PRODUCTVARIANT")),
    Template(14, "Related products", RECOMMENDATION, "related_products", "list.product_reference", ("PRODUCT",)),
    Template(17, "Complementary products", RECOMMENDATION, "complementary_products", "list.product_reference", ("PRODUCT",)),
)


@mutation
def standard_metafield_definition_enable(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Enable a template, named by id or by namespace and key; one that is enabled already is answered as it is (or pinned)."""
    owner_type = args["ownerType"]
    template = _template(owner_type, args)
    if template is None:
        raise Rejected([user_error(None, NOT_FOUND, "TEMPLATE_NOT_FOUND")], createdDefinition=None)
    errors = _errors(template, args)
    if errors:
        raise Rejected(errors, createdDefinition=None)
    present = definition_of(ctx, owner_type, template.namespace, template.key)
    pinned = (present or {}).get("pinnedPosition")
    if args.get("pin") and pinned is None:
        held = pins(ctx, owner_type)
        if held >= PIN_LIMIT:
            message = f"Limit of {PIN_LIMIT} pinned definitions."
            raise Rejected([user_error(None, message, "LIMIT_EXCEEDED")], createdDefinition=None)
        pinned = held + 1
    definition = {**(present or _definition(ctx, template, args)), "pinnedPosition": pinned}
    if definition != present:
        ctx.store.put("MetafieldDefinition", definition)
    return {"createdDefinition": definition}


def _template(owner_type: str, args: dict[str, Any]) -> Template | None:
    for template in TEMPLATES:
        if owner_type not in template.owner_types:
            continue
        if args.get("id") == gid("StandardMetafieldDefinitionTemplate", template.number):
            return template
        if args.get("id") is None and (args.get("namespace"), args.get("key")) == (template.namespace, template.key):
            return template
    return None


def _errors(template: Template, args: dict[str, Any]) -> list[Doc]:
    access = args.get("access") or {}
    if access and template.is_reserved:
        return [user_error(["access"], ACCESS_IS_FIXED, "INVALID")]
    if access.get("admin"):
        return [user_error(["access"], NOT_PERMITTED, "INVALID")]
    asked = args.get("capabilities") or {}
    wants_condition = args.get("useAsCollectionCondition") or (asked.get("smartCollectionCondition") or {}).get("enabled")
    wants_unique = (asked.get("uniqueValues") or {}).get("enabled")
    refused = [
        *(["smart_collection_condition"] if wants_condition and template.type not in SMART_TYPES else []),
        *(["unique_values"] if wants_unique and template.type not in UNIQUE_TYPES else []),
    ]
    return [user_error(None, f"The capability {name} is not valid for this definition.", "INVALID_CAPABILITY") for name in refused]


def _definition(ctx: Context, template: Template, args: dict[str, Any]) -> Doc:
    access = args.get("access") or {}
    is_visible = args.get("visibleToStorefrontApi") is not False
    return {
        "id": new_gid(ctx.store, "MetafieldDefinition"),
        "name": template.name,
        "namespace": template.namespace,
        "key": template.key,
        "ownerType": args["ownerType"],
        "type": {"name": template.type, "category": types.category(template.type)},
        "description": None,
        "validations": [{"name": name, "type": "single_line_text_field", "value": value} for name, value in template.validations],
        "pinnedPosition": None,
        "validationStatus": "ALL_VALID",
        "access": {
            "admin": "PUBLIC_READ_WRITE",
            "storefront": access.get("storefront") or ("PUBLIC_READ" if is_visible else "NONE"),
            "customerAccount": access.get("customerAccount") or "NONE",
        },
        "capabilities": capabilities_of(args.get("capabilities") or {}, template.type),
    }
