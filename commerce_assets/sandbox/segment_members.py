"""Which customers belong to a segment: its query as SQL over the store.

Belongs here: what a query means. Its grammar and what is wrong with it: mutations/segment_query.py. Filters on tags, on metafields with a
definition and on consent are evaluated; of any other the store says that it cannot, rather than answer a wrong count.

AND binds closer than OR. Tags are compared without case, as everywhere on customers. A comparison holds for no customer who lacks the
value; NOT CONTAINS holds for those who lack it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from commerce_assets.sandbox.connections import root_connection
from commerce_assets.sandbox.context import Context, RequestError
from commerce_assets.sandbox.documents import Doc, gid, gid_number
from commerce_assets.sandbox.mutations import segment_query
from commerce_assets.sandbox.mutations.metafields import app_namespace, definition_of
from commerce_assets.sandbox.mutations.segment_query import COMPARISONS, Token
from commerce_assets.sandbox.mutations.segments import DOES_NOT_EXIST, known_metafields

_TAGGED = "EXISTS (SELECT 1 FROM tags AS g WHERE g.kind = 'Customer' AND g.id = t.id{})"
_HAS_METAFIELD = (
    "EXISTS (SELECT 1 FROM metafields AS m WHERE m.owner_kind = 'Customer' AND m.owner_id = t.id AND m.namespace = ? AND m.key = ?{})"
)
_CONSENTS = {"email_subscription_status": "defaultEmailAddress", "sms_subscription_status": "defaultPhoneNumber"}


def members(arguments: Mapping[str, Any], context: Context) -> Doc:
    """The connection `customerSegmentMembers`: of a segment, or of a query given as it is."""
    if arguments.get("segmentId") is not None:
        segment = context.store.get("Segment", gid_number(arguments["segmentId"]))
        if segment is None:
            raise RequestError(DOES_NOT_EXIST, code="NOT_FOUND")
        query = str(segment["query"])
    elif arguments.get("query") is not None:
        query = str(arguments["query"])
    else:
        raise RequestError("customerSegmentMembers of a queryId are not served by the sandbox store", code="SANDBOX_UNSUPPORTED")
    wrong = segment_query.problems(query, known_metafields(context))
    if wrong:
        raise RequestError("; ".join(wrong), code="BAD_REQUEST")
    where, values = _Compiled(query, context).whole()
    page_arguments = {name: arguments.get(name) for name in ("first", "last", "after", "before", "reverse")}
    page = root_connection(context, "Customer", page_arguments, ["customerSegmentMembers"], where, values)
    edges = [{**edge, "node": _member(edge["node"])} for edge in page["edges"]]
    return {"edges": edges, "pageInfo": page["pageInfo"], "totalCount": context.store.count("Customer", where, values)}


def _member(customer: Doc) -> Doc:
    return {**customer, "id": gid("CustomerSegmentMember", gid_number(customer["id"]))}


Sql = tuple[str, list[Any]]


class _Compiled:
    """One query, read from its first token to its last."""

    def __init__(self, query: str, context: Context) -> None:
        self.tokens: Sequence[Token] = segment_query.tokens(query)
        self.context = context
        self.at = 0

    def whole(self) -> Sql:
        return self._any()

    def _any(self) -> Sql:
        return self._joined("OR", self._all)

    def _all(self) -> Sql:
        return self._joined("AND", self._one)

    def _joined(self, word: str, part: Any) -> Sql:
        sql, values = part()
        while self._next_is(word):
            self.at += 1
            more, more_values = part()
            sql, values = f"{sql} {word} {more}", [*values, *more_values]
        return f"({sql})", values

    def _one(self) -> Sql:
        if self._next_is("NOT"):
            self.at += 1
            sql, values = self._one()
            return f"NOT {sql}", values
        if self._next_is("("):
            self.at += 1
            inside = self._any()
            self.at += 1
            return inside
        name = self._take().text
        if name.lower() == "customer_tags":
            return self._tags()
        if segment_query.METAFIELD.match(name):
            _, namespace, key = name.split(".", 2)
            return self._metafield(app_namespace(self.context, namespace), key)
        if name.lower() in _CONSENTS:
            return self._compared(f"json_extract(t.doc, '$.{_CONSENTS[name.lower()]}.marketingState')", "single_line_text_field")
        raise _unsupported(name)

    def _tags(self) -> Sql:
        is_not = self._skip("NOT")
        if self._skip("CONTAINS"):
            held: Sql = _TAGGED.format(" AND g.folded = ?"), [self._value().casefold()]
        elif self._skip("IS"):
            is_not = not self._skip("NOT")
            self._skip("NULL")
            held = _TAGGED.format(""), []
        else:
            raise _unsupported(f"customer_tags {self._take().text}")
        return (f"NOT {held[0]}", held[1]) if is_not else held

    def _metafield(self, namespace: str, key: str) -> Sql:
        if self._skip("IS"):
            is_not = self._skip("NOT")
            self._skip("NULL")
            return f"{'' if is_not else 'NOT '}{_HAS_METAFIELD.format('')}", [namespace, key]
        definition = definition_of(self.context, "CUSTOMER", namespace, key)
        kind = definition["type"]["name"] if definition else "single_line_text_field"
        if kind.startswith("list."):
            raise _unsupported(f"metafields.{namespace}.{key} of type {kind}")
        condition, values = self._compared("m.value", kind)
        return _HAS_METAFIELD.format(f" AND {condition}"), [namespace, key, *values]

    def _compared(self, column: str, kind: str) -> Sql:
        is_number = kind.startswith("number")
        column = f"CAST({column} AS REAL)" if is_number else column
        operator = self._take().text.upper()
        if operator in COMPARISONS:
            return f"{column} {operator} ?", [self._typed(is_number)]
        if operator == "BETWEEN":
            lower = self._typed(is_number)
            self.at += 1
            return f"{column} BETWEEN ? AND ?", [lower, self._typed(is_number)]
        raise _unsupported(f"the operator {operator}")

    def _typed(self, is_number: bool) -> str | float:
        value = self._value()
        if not is_number:
            return value
        try:
            return float(value)
        except ValueError:
            raise RequestError(f"'{value}' is not a number", code="BAD_REQUEST") from None

    def _value(self) -> str:
        token = self._take()
        if token.text == "(":
            raise _unsupported("a list or function as a value")
        return re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "text" else token.text

    def _take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def _skip(self, word: str) -> bool:
        found = self._next_is(word)
        self.at += found
        return found

    def _next_is(self, word: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at].kind != "text" and self.tokens[self.at].text.upper() == word


def _unsupported(what: str) -> RequestError:
    return RequestError(f"members of a segment by {what} are not counted by the sandbox store", code="SANDBOX_UNSUPPORTED")
