"""The grammar of customer segments, as far as the API judges it: which filters exist, and how a query may read.

Not here: which customers match (segment_members.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FILTERS = frozenset(
    {
        "abandoned_checkout_date",
        "amount_spent",
        "anniversary",
        "companies",
        "created_by_app_id",
        "customer_account_status",
        "customer_added_date",
        "customer_cities",
        "customer_countries",
        "customer_email_domain",
        "customer_language",
        "customer_regions",
        "customer_tags",
        "customer_within_distance",
        "email_subscription_status",
        "first_order_date",
        "last_order_date",
        "number_of_orders",
        "orders_placed",
        "predicted_spend_tier",
        "product_subscription_status",
        "products_purchased",
        "rfm_group",
        "shopify_email.bounced",
        "shopify_email.clicked",
        "shopify_email.delivered",
        "shopify_email.marked_as_spam",
        "shopify_email.opened",
        "shopify_email.unsubscribed",
        "sms_subscription_status",
        "store_credit_accounts",
        "storefront.collection_viewed",
        "storefront.product_viewed",
        "storefront_event.collection_viewed",
        "storefront_event.product_viewed",
    }
)
METAFIELD = re.compile(r"metafields\.[^\s.()]+\.[^\s.()]+$", re.IGNORECASE)
TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<operator>>=|<=|!=|=|>|<)|(?P<mark>[(),])|(?P<word>[^\s()=<>!,'"]+|.))"""
)
COMPARISONS = frozenset({"=", "!=", ">", "<", ">=", "<="})
CONNECTORS = frozenset({"AND", "OR"})


@dataclass(frozen=True)
class Token:
    """A word of the query with the column where it starts, from 0 as the API counts."""

    text: str
    column: int
    kind: str


class _Unexpected(Exception):
    def __init__(self, token: Token) -> None:
        self.token = token


def problems(query: str, known_metafields: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with a query, in the API's words; an empty list when it reads well.

    `known_metafields` are `namespace.key` of definitions whose type can be filtered.
    """
    words = tokens(query)
    filters: list[Token] = []
    errors: list[str] = []
    try:
        end = _expression(words, 0, filters)
        if end < len(words):
            raise _Unexpected(words[end])
    except _Unexpected as stop:
        errors.append(f"Query Line 1 Column {stop.token.column}: '{stop.token.text}' is unexpected.")
    except IndexError:
        errors.append(f"Query Line 1 Column {len(query)}: unexpected end of query.")
    for token in filters:
        if not _exists(token.text, known_metafields):
            errors.append(f"Query Line 1 Column {token.column}: '{token.text}' filter cannot be found.")
    return errors


def tokens(query: str) -> list[Token]:
    """The words of a query."""
    found = []
    for match in TOKEN.finditer(query):
        kind = match.lastgroup
        if kind is not None and match.group(kind).strip():
            found.append(Token(match.group(kind), match.start(kind), kind))
    return found


def _exists(name: str, known_metafields: frozenset[str]) -> bool:
    if METAFIELD.match(name):
        return name.partition(".")[2] in known_metafields
    return name.lower() in FILTERS


def _expression(tokens: list[Token], at: int, filters: list[Token]) -> int:
    at = _term(tokens, at, filters)
    while at < len(tokens) and tokens[at].text.upper() in CONNECTORS:
        at = _term(tokens, at + 1, filters)
    return at


def _term(tokens: list[Token], at: int, filters: list[Token]) -> int:
    token = tokens[at]
    if token.text.upper() == "NOT":
        return _term(tokens, at + 1, filters)
    if token.text == "(":
        at = _expression(tokens, at + 1, filters)
        if tokens[at].text != ")":
            raise _Unexpected(tokens[at])
        return at + 1
    if token.kind != "word":
        raise _Unexpected(token)
    filters.append(token)
    at += 1
    if at < len(tokens) and tokens[at].text == "(":
        at = _arguments(tokens, at)
    return _condition(tokens, at)


def _arguments(tokens: list[Token], at: int) -> int:
    """Past a group in parentheses, which may hold groups of its own."""
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(tokens[at].text, 0)
        at += 1
        if depth == 0:
            return at


def _condition(tokens: list[Token], at: int) -> int:
    token = tokens[at]
    word = token.text.upper()
    if token.text in COMPARISONS:
        return _value(tokens, at + 1)
    if word == "NOT" and tokens[at + 1].text.upper() in ("CONTAINS", "MATCHES", "BETWEEN", "STARTS", "ENDS"):
        at, word = at + 1, tokens[at + 1].text.upper()
    if word in ("CONTAINS", "MATCHES"):
        if tokens[at + 1].text == "(":
            return _arguments(tokens, at + 1)
        return _value(tokens, at + 1)
    if word in ("STARTS", "ENDS") and tokens[at + 1].text.upper() == "WITH":
        return _value(tokens, at + 2)
    if word == "BETWEEN":
        at = _value(tokens, at + 1)
        if tokens[at].text.upper() != "AND":
            raise _Unexpected(tokens[at])
        return _value(tokens, at + 1)
    if word == "IS":
        at += 1
        if tokens[at].text.upper() == "NOT":
            at += 1
        if tokens[at].text.upper() != "NULL":
            raise _Unexpected(tokens[at])
        return at + 1
    raise _Unexpected(token)


def _value(tokens: list[Token], at: int) -> int:
    if tokens[at].kind in ("mark", "operator") or tokens[at].text.upper() in CONNECTORS:
        raise _Unexpected(tokens[at])
    return at + 1
