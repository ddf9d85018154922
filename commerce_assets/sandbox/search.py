"""Shopify's search syntax (`query:` arguments) turned into SQL over the store's search columns.

Grammar, as observed: terms beside each other are ANDed; `OR` binds tighter than that; `-` or `NOT` negates; parentheses group;
values may be quoted with ' or " and then hold anything; a `*` at the end of a value matches any rest; `field:*` means present;
`:>`, `:>=`, `:<`, `:<=` compare times, numbers and ids. An unquoted value ends at a colon, so an unquoted timestamp is cut at
its hour and its minutes become a term of their own: quote timestamps. A date without a zone is in the shop's time zone.
A field the object does not have is ignored and reported in `extensions.search`, and everything else still applies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from commerce_assets.sandbox.documents import instant, parse_gid

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<open>\() | (?P<close>\)) | (?P<minus>-(?=[^\s-]))
    | (?P<field>[A-Za-z0-9_.$-]+):(?P<compare>>=|<=|>|<|=|)\s*(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s():"']*)
    | (?P<word>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s():"']+)
    | (?P<junk>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


class UnsupportedSearch(Exception):
    """A search that the real store can do and this one cannot; the message names the field."""


@dataclass(frozen=True)
class Term:
    """One condition; `field` is None for plain words."""

    field: str | None
    compare: str
    value: str


@dataclass(frozen=True)
class Not:
    """Everything but."""

    part: Node


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Any_:
    """Some part holds."""

    parts: tuple[Node, ...]


Node = Term | Not | All | Any_


@dataclass(frozen=True)
class _Token:
    kind: str
    term: Term | None = None


def _unquote(text: str) -> tuple[str, bool]:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1]), True
    return text, False


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    for match in _TOKEN.finditer(text.rstrip()):
        if match["open"]:
            tokens.append(_Token("("))
        elif match["close"]:
            tokens.append(_Token(")"))
        elif match["minus"]:
            tokens.append(_Token("NOT"))
        elif match["field"] is not None:
            value, _ = _unquote(match["value"])
            compare = "" if match["compare"] == "=" else match["compare"]
            tokens.append(_Token("term", Term(match["field"].lower(), compare, value)))
        elif match["word"]:
            word, quoted = _unquote(match["word"])
            if not quoted and word in ("AND", "OR", "NOT"):
                tokens.append(_Token(word))
            elif word:
                tokens.append(_Token("term", Term(None, "", word)))
    return tokens


def parse(text: str) -> Node | None:
    """The syntax tree of a search; None where it has no term. Never fails: stray connectives and parentheses are dropped."""
    tokens = _tokens(text)
    position = 0

    def conjunction(depth: int) -> Node | None:
        nonlocal position
        parts: list[Node] = []
        while position < len(tokens):
            kind = tokens[position].kind
            if kind == ")":
                if depth:
                    break
                position += 1
            elif kind in ("AND", "OR"):
                position += 1
            else:
                part = disjunction(depth)
                if part is not None:
                    parts.append(part)
        return _group(All, parts)

    def disjunction(depth: int) -> Node | None:
        nonlocal position
        parts = [unary(depth)]
        while position < len(tokens) and tokens[position].kind == "OR":
            position += 1
            if position < len(tokens) and tokens[position].kind not in ("AND", "OR", ")"):
                parts.append(unary(depth))
        return _group(Any_, [part for part in parts if part is not None])

    def unary(depth: int) -> Node | None:
        nonlocal position
        if position >= len(tokens) or tokens[position].kind in ("AND", "OR", ")"):
            return None
        token = tokens[position]
        position += 1
        if token.kind == "NOT":
            part = unary(depth)
            return None if part is None else Not(part)
        if token.kind == "(":
            inside = conjunction(depth + 1)
            if position < len(tokens) and tokens[position].kind == ")":
                position += 1
            return inside
        return token.term

    return conjunction(0)


def _group(kind: type[All] | type[Any_], parts: list[Node]) -> Node | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def quote(value: str) -> str:
    """A value quoted so that it is taken literally."""
    return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"


def unparse(node: Node | None) -> str:
    """A search text that parses to the same tree."""
    if node is None:
        return ""
    if isinstance(node, Term):
        return quote(node.value) if node.field is None else f"{node.field}:{node.compare}{quote(node.value)}"
    if isinstance(node, Not):
        return f"NOT {_wrap(node.part)}"
    return (" AND " if isinstance(node, All) else " OR ").join(_wrap(part) for part in node.parts)


def _wrap(node: Node) -> str:
    return unparse(node) if isinstance(node, (Term, Not)) else f"({unparse(node)})"


# -- what can be searched by


Builder = Callable[[Term, "_Builder"], tuple[str, list[Any]]]


class InvalidValue(Exception):
    """The value does not fit the field."""


@dataclass
class Search:
    """A search as SQL over `t`, with what `extensions.search` says about it."""

    where: str = "1"
    parameters: list[Any] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    parsed: Any = None

    def extension(self, path: list[Any], text: str) -> dict[str, Any] | None:
        """The entry of `extensions.search`, where there is something to warn of."""
        return {"path": path, "query": text, "parsed": self.parsed, "warnings": self.warnings} if self.warnings else None


class _Builder:
    def __init__(self, kind: str, timezone: str) -> None:
        self.fields = FIELDS[kind]
        self.kind = kind
        self.zone = ZoneInfo(timezone)
        self.warnings: list[dict[str, str]] = []

    def sql(self, node: Node) -> tuple[str, list[Any]] | None:
        """SQL of a node; None where nothing of it can be applied."""
        if isinstance(node, Term):
            return self.term(node)
        if isinstance(node, Not):
            inner = self.sql(node.part)
            return None if inner is None else (f"NOT coalesce({inner[0]}, 0)", inner[1])
        built = [part for part in (self.sql(part) for part in node.parts) if part is not None]
        if not built:
            return None
        glue = " AND " if isinstance(node, All) else " OR "
        return "(" + glue.join(f"({text})" for text, _ in built) + ")", [value for _, values in built for value in values]

    def term(self, term: Term) -> tuple[str, list[Any]] | None:
        name = term.field or "default"
        build = self.fields.get(name)
        if build is None:
            if name in KNOWN_ELSEWHERE.get(self.kind, ()):
                raise UnsupportedSearch(f"the sandbox store cannot search {self.kind} by {name!r}; leave it out or filter afterwards")
            self.warnings.append({"field": name, "message": "Invalid search field for this query.", "code": "invalid_field"})
            return None
        try:
            return build(term, self)
        except InvalidValue:
            self.warnings.append({"field": name, "message": f"Input `{term.value}` is not an accepted value.", "code": "invalid_value"})
            return None

    def parsed(self, node: Node) -> Any:
        if isinstance(node, Term):
            if node.compare:
                value = node.value
                if self.fields.get(node.field or "") in (None,) or not node.field:
                    return {"field": node.field, f"range_{_COMPARISONS[node.compare]}": value}
                moment = _moment(value, self.zone)
                shown = moment[0].astimezone(self.zone).isoformat() if moment else value
                return {"field": node.field, f"range_{_COMPARISONS[node.compare]}": shown}
            return {"field": node.field or "default", "match_all": node.value}
        if isinstance(node, Not):
            return {"not": self.parsed(node.part)}
        return {"and" if isinstance(node, All) else "or": [self.parsed(part) for part in node.parts]}


def _moment(value: str, zone: ZoneInfo) -> tuple[datetime, timedelta] | None:
    """The moment a value names, and how long it lasts (a day, an hour, a second)."""
    text = value.strip()
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            length = timedelta(days=1)
        elif re.fullmatch(r"\d{4}-\d{2}-\d{2}[T ]\d{2}", text):
            text, length = text + ":00:00", timedelta(hours=1)
        else:
            length = timedelta(seconds=1)
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC), length
    except OverflowError:
        return None


def _time(column: str) -> Builder:
    def build(term: Term, builder: _Builder) -> tuple[str, list[Any]]:
        if term.value == "*" and not term.compare:
            return f"{column} IS NOT NULL", []
        found = _moment(term.value, builder.zone)
        if found is None:
            raise InvalidValue(term.value)
        moment, length = found
        if not term.compare:
            return f"({column} >= ? AND {column} < ?)", [instant(moment), instant(moment + length)]
        compare = term.compare
        if moment.microsecond:  # documents hold whole seconds
            compare = {">=": ">", "<": "<="}.get(compare, compare)
        return f"{column} {compare} ?", [instant(moment)]

    return build


def _number(expression: str) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        try:
            value = float(term.value)
        except ValueError:
            raise InvalidValue(term.value) from None
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidValue(term.value)
        return f"{expression} {term.compare or '='} ?", [int(value) if value.is_integer() else value]

    return build


def _id(column: str) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        text = term.value
        try:
            number = parse_gid(text)[1] if text.startswith("gid:") else int(text)
        except ValueError:
            raise InvalidValue(term.value) from None
        return f"{column} {term.compare or '='} ?", [min(number, 2**63 - 1)]

    return build


def _like(value: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", value)


def _text(column: str) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        if term.compare:
            return f"{column} {term.compare} ?", [term.value]
        if term.value == "*":
            return f"coalesce({column}, '') <> ''", []
        if term.value.endswith("*"):
            return f"{column} LIKE ? ESCAPE '\\'", [_like(term.value[:-1]) + "%"]
        return f"{column} = ? COLLATE NOCASE", [term.value]

    return build


def _words(column: str) -> Builder:
    """A tokenised text: every word of the value begins some word of the text."""

    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        if term.value == "*":
            return f"coalesce({column}, '') <> ''", []
        words = term.value.rstrip("*").split()
        if not words:
            raise InvalidValue(term.value)
        return " AND ".join(f"(' ' || {column}) LIKE ? ESCAPE '\\'" for _ in words), [f"% {_like(word)}%" for word in words]

    return build


def _name(column: str) -> Builder:
    exact = _text(column)

    def build(term: Term, builder: _Builder) -> tuple[str, list[Any]]:
        plain, values = exact(term, builder)
        if term.value.isdecimal() and not term.compare:
            return f"({plain} OR {column} = ? COLLATE NOCASE)", [*values, f"#{term.value}"]
        return plain, values

    return build


def _choice(column: str, accepted: dict[str, str]) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        condition = accepted.get(term.value.lower())
        if condition is None:
            raise InvalidValue(term.value)
        return (f"{column} {condition}" if condition else "1"), []

    return build


def _flag(column: str) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        if term.value.lower() not in ("true", "false"):
            raise InvalidValue(term.value)
        return f"{column} = {int(term.value.lower() == 'true')}", []

    return build


def _tag(kind: str, owner: str = "t.id", *, negated: bool = False) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        inside = f"SELECT id FROM tags WHERE kind = '{kind}' AND "
        if term.value.endswith("*"):
            condition, value = inside + "folded LIKE ? ESCAPE '\\'", _like(term.value[:-1].casefold()) + "%"
        else:
            condition, value = inside + "folded = ?", term.value.casefold()
        return f"{owner} {'NOT IN' if negated else 'IN'} ({condition})", [value]

    return build


def _inside(condition: str) -> Builder:
    """A condition with one `?` for the value (exact, or as a prefix where it ends with `*`)."""

    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        pattern = _like(term.value[:-1]) + "%" if term.value.endswith("*") else _like(term.value)
        return condition, [pattern]

    return build


def _default(*columns: str) -> Builder:
    def build(term: Term, _: _Builder) -> tuple[str, list[Any]]:
        pattern = f"%{_like(term.value.rstrip('*'))}%"
        return "(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns) + ")", [pattern] * len(columns)

    return build


_ORDER_STATUS = {"open": "= 'open'", "closed": "= 'closed'", "cancelled": "= 'cancelled'", "not_closed": "<> 'closed'", "any": ""}
_FINANCIAL = {
    **{
        value: f"= '{value.upper()}'"
        for value in ("paid", "pending", "authorized", "partially_paid", "partially_refunded", "refunded", "voided", "expired")
    },
    "unpaid": "IN ('AUTHORIZED', 'PENDING', 'PARTIALLY_PAID', 'EXPIRED')",
}
_FULFILLMENT = {
    "unshipped": "= 'UNFULFILLED'",
    "unfulfilled": "IN ('UNFULFILLED', 'PARTIALLY_FULFILLED')",
    "shipped": "= 'FULFILLED'",
    "fulfilled": "= 'FULFILLED'",
    "partial": "= 'PARTIALLY_FULFILLED'",
    "scheduled": "= 'SCHEDULED'",
    "on_hold": "= 'ON_HOLD'",
}
_ORDER_TOTALS = "(SELECT {} FROM t_Order o WHERE o.customer_id = t.id AND NOT o.is_test)"
_AVAILABLE = (
    "(SELECT coalesce(sum(json_extract(l.quantities, '$.available')), 0) FROM inventory l"
    " WHERE l.is_active AND l.item_id IN (SELECT id FROM t_InventoryItem WHERE {}))"
)
PRODUCT_STOCK = _AVAILABLE.format("parent_id = t.id")
VARIANT_STOCK = _AVAILABLE.format("id = t.item_id")

FIELDS: dict[str, dict[str, Builder]] = {
    "Order": {
        "default": _default("t.name", "t.email"),
        "id": _id("t.id"),
        "created_at": _time("t.created_at"),
        "updated_at": _time("t.updated_at"),
        "processed_at": _time("t.processed_at"),
        "name": _name("t.name"),
        "email": _text("t.email"),
        "customer_id": _id("t.customer_id"),
        "status": _choice("t.status", _ORDER_STATUS),
        "financial_status": _choice("t.financial_status", _FINANCIAL),
        "fulfillment_status": _choice("t.fulfillment_status", _FULFILLMENT),
        "test": _flag("t.is_test"),
        "source_name": _text("t.source_name"),
        "current_total_price": _number("t.current_total"),
        "tag": _tag("Order"),
        "tag_not": _tag("Order", negated=True),
        "sku": _inside("t.id IN (SELECT parent_id FROM t_LineItem WHERE sku LIKE ? ESCAPE '\\')"),
        "discount_code": _inside(
            "EXISTS (SELECT 1 FROM json_each(t.doc, '$.discountApplications') d WHERE json_extract(d.value, '$.code') LIKE ? ESCAPE '\\')"
        ),
        "gateway": _inside(
            "EXISTS (SELECT 1 FROM json_each(t.doc, '$.transactions') d WHERE json_extract(d.value, '$.gateway') LIKE ? ESCAPE '\\')"
        ),
    },
    "Customer": {
        "default": _default("t.email", "t.first_name", "t.last_name", "t.phone"),
        "id": _id("t.id"),
        "customer_date": _time("t.created_at"),
        "updated_at": _time("t.updated_at"),
        "email": _text("t.email"),
        "phone": _text("t.phone"),
        "first_name": _text("t.first_name"),
        "last_name": _text("t.last_name"),
        "state": _text("t.state"),
        "country": _text("t.country"),
        "tag": _tag("Customer"),
        "tag_not": _tag("Customer", negated=True),
        "orders_count": _number(_ORDER_TOTALS.format("count(*)")),
        "total_spent": _number(_ORDER_TOTALS.format("coalesce(sum(CASE WHEN o.status <> 'cancelled' THEN o.current_total END), 0)")),
        "order_date": _time(_ORDER_TOTALS.format("max(o.processed_at)")),
    },
    "Product": {
        "default": _default("t.title", "t.vendor", "t.product_type"),
        "id": _id("t.id"),
        "created_at": _time("t.created_at"),
        "updated_at": _time("t.updated_at"),
        "published_at": _time("t.published_at"),
        "title": _words("t.title"),
        "handle": _text("t.handle"),
        "vendor": _text("t.vendor"),
        "product_type": _text("t.product_type"),
        "status": _text("t.status"),
        "gift_card": _flag("t.is_gift_card"),
        "inventory_total": _number(PRODUCT_STOCK),
        "tag": _tag("Product"),
        "tag_not": _tag("Product", negated=True),
        "sku": _inside("t.id IN (SELECT parent_id FROM t_ProductVariant WHERE sku LIKE ? ESCAPE '\\')"),
        "barcode": _inside("t.id IN (SELECT parent_id FROM t_ProductVariant WHERE barcode LIKE ? ESCAPE '\\')"),
        "variant_title": _inside("t.id IN (SELECT parent_id FROM t_ProductVariant WHERE title LIKE ? ESCAPE '\\')"),
        "variant_id": _inside("t.id IN (SELECT parent_id FROM t_ProductVariant WHERE id LIKE ? ESCAPE '\\')"),
    },
    "ProductVariant": {
        "default": _default("t.title", "t.sku", "t.barcode"),
        "id": _id("t.id"),
        "updated_at": _time("t.updated_at"),
        "product_id": _id("t.parent_id"),
        "sku": _text("t.sku"),
        "barcode": _text("t.barcode"),
        "title": _words("t.title"),
        "inventory_quantity": _number(VARIANT_STOCK),
        "tag": _tag("Product", "t.parent_id"),
        "tag_not": _tag("Product", "t.parent_id", negated=True),
        "vendor": _inside("t.parent_id IN (SELECT id FROM t_Product WHERE vendor LIKE ? ESCAPE '\\')"),
        "product_type": _inside("t.parent_id IN (SELECT id FROM t_Product WHERE product_type LIKE ? ESCAPE '\\')"),
        "product_status": _inside("t.parent_id IN (SELECT id FROM t_Product WHERE status LIKE ? ESCAPE '\\')"),
    },
    "InventoryItem": {
        "default": _default("t.sku"),
        "id": _id("t.id"),
        "created_at": _time("t.created_at"),
        "updated_at": _time("t.updated_at"),
        "sku": _text("t.sku"),
    },
    "Location": {
        "default": _default("t.name"),
        "id": _id("t.id"),
        "location_id": _id("t.id"),
        "created_at": _time("t.created_at"),
        "name": _text("t.name"),
        "active": _choice("t.is_active", {"true": "= 1", "active": "= 1", "false": "= 0", "inactive": "= 0"}),
    },
    "Segment": {"default": _default("t.name"), "id": _id("t.id"), "name": _text("t.name")},
    "MetafieldDefinition": {
        "default": _default("t.name"),
        "id": _id("t.id"),
        "key": _text("t.key"),
        "namespace": _text("t.namespace"),
        "owner_type": _text("t.owner_type"),
        "type": _inside("json_extract(t.doc, '$.type.name') LIKE ? ESCAPE '\\'"),
    },
    "BulkOperation": {
        "id": _id("t.id"),
        "created_at": _time("t.created_at"),
        "status": _text("t.status"),
        "operation_type": _text("t.operation_type"),
    },
    "WebhookSubscription": {
        "id": _id("t.id"),
        "created_at": _time("t.created_at"),
        "updated_at": _time("t.updated_at"),
        "topic": _text("t.topic"),
        "format": _text("t.format"),
    },
}


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


# Fields that the real store knows and this one does not model: refused loudly instead of being ignored with a warning.
KNOWN_ELSEWHERE: dict[str, frozenset[str]] = {
    "Order": _names(
        "cart_token channel channel_id chargeback_status checkout_token confirmation_number delivery_method",
        "fraud_protection_level fulfillment_location_id location_id payment_id payment_provider_id po_number",
        "reference_location_id return_status risk_level sales_channel source_identifier",
        "subtotal_line_items_quantity total_weight",
    ),
    "Customer": frozenset({"accepts_marketing", "last_abandoned_order_date"}),
    "Product": _names(
        "bundles category_id collection_id combined_listing_role delivery_profile_id error_feedback",
        "has_only_composites has_only_default_variant has_variant_with_components is_price_reduced",
        "out_of_stock_somewhere price product_configuration_owner product_publication_status publication_ids",
        "publishable_status published_status tracks_inventory",
    ),
    "ProductVariant": _names(
        "collection delivery_profile_id exclude_composite exclude_variants_with_components gift_card location_id",
        "managed managed_by product_ids product_publication_status publishable_status published_status",
        "requires_components taxable",
    ),
    "Location": frozenset({"city", "country", "geolocated", "legacy", "pickup_in_store", "province", "zip"}),
    "MetafieldDefinition": frozenset({"created_at", "updated_at"}),
}


def build(kind: str, text: str | None, timezone: str = "UTC") -> Search:
    """The search `text` over objects of type `kind`, in a shop of that time zone."""
    node = parse(text) if text else None
    if node is None:
        return Search()
    builder = _Builder(kind, timezone)
    sql = builder.sql(node)
    where, parameters = sql or ("1", [])
    return Search(where, parameters, builder.warnings, builder.parsed(node))
