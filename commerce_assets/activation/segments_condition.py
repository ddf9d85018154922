"""A segment's condition: checked, and written anew from what was understood, so that no text of a user's ever reaches a model.

One boolean expression over `c` (customer_360) and `s` (customer_scores). It is parsed with sqlglot; every node of the tree has to be of a
kind that is listed here, every column has to be known and not personal, and DuckDB has to find types that go together. What a model then
holds is generated from the tree: statements, subqueries, functions that read files, comments and Jinja have no way in.

`current_date` becomes the day that the scores describe (`as_of.as_of_on`): the same data gives the same members, whenever it is built.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.segments_columns import RELATIONS, Columns

MAX_LENGTH = 4_000
MAX_DEPTH = 60
"""Levels of a tree: far more than people write, far fewer than Python's stack holds."""
AS_OF = ("as_of", "as_of_on")
"""Relation and column of the day that stands for `current_date`."""
JINJA = ("{{", "}}", "{%", "%}", "{#", "#}")
"""What dbt would take for a template."""

_DIALECT = Dialect.get_or_raise("duckdb")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_LOGIC = (exp.And, exp.Or, exp.Not)
_ALLOWED: tuple[type[exp.Expr], ...] = (
    *_COMPARISONS,
    *_LOGIC,
    *(exp.Paren, exp.Between, exp.In, exp.Is, exp.Like, exp.ILike, exp.Case, exp.If),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg),
    *(exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Var, exp.Interval),
    *(exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam),
    *(exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Abs, exp.Round, exp.Floor, exp.Ceil),
    *(exp.Lower, exp.Upper, exp.Length, exp.Trim, exp.StartsWith, exp.EndsWith, exp.Contains),
    *(exp.CurrentDate, exp.DateDiff, exp.DateTrunc, exp.TimestampTrunc, exp.Extract, exp.Year, exp.Quarter, exp.Month, exp.Day),
)
_TYPES = {
    exp.DType.DATE,
    exp.DType.TIMESTAMP,
    exp.DType.INT,
    exp.DType.BIGINT,
    exp.DType.DOUBLE,
    exp.DType.DECIMAL,
    exp.DType.VARCHAR,
    exp.DType.TEXT,
    exp.DType.BOOLEAN,
}
_NUMBERS = (
    "tinyint",
    "smallint",
    "integer",
    "bigint",
    "hugeint",
    "utinyint",
    "usmallint",
    "uinteger",
    "ubigint",
    "uhugeint",
    "float",
    "double",
)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_UNIT = re.compile(r"[A-Za-z_]+")


class ConditionError(DeclarationError):
    """A condition that is not one; the message says what to write instead."""


@dataclass(frozen=True)
class Condition:
    """A checked condition, as a model writes it."""

    parts: tuple[str, ...]
    """Joined by `and`; each a whole expression of its own."""
    columns: tuple[str, ...]
    """Qualified names of the columns it looks at, sorted."""

    @property
    def sql(self) -> str:
        return " and ".join(self.parts)


class ConditionReader:
    """Reads conditions over known columns; holds a DuckDB in memory with those columns and one row of nulls, and nothing else."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._duckdb = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        for alias in RELATIONS:
            listed = ", ".join(f'"{column.name}" {column.type}' for column in columns.of(alias))
            self._duckdb.execute(f"create table {alias} ({listed})")
            self._duckdb.execute(f"insert into {alias} ({columns.of(alias)[0].name}) values (null)")
        self._duckdb.execute(f"create table {AS_OF[0]} as select date '2026-01-01' as {AS_OF[1]}")

    def close(self) -> None:
        self._duckdb.close()

    def __enter__(self) -> "ConditionReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, text: str) -> Condition:
        """The condition that `text` says. Raises `ConditionError` with what is wrong with it and what to do."""
        tree = _resolved(_checked(_parsed(text)), self._columns)
        parts = tuple(_written(part) for part in _conjuncts(tree))
        condition = Condition(parts, tuple(sorted({_name_of(column) for column in tree.find_all(exp.Column)} - {".".join(AS_OF)})))
        if _parsed(condition.sql) != tree:
            raise ConditionError("this cannot be written down so that it reads the same again: write it more simply")
        self._check_types(tree, condition)
        return condition

    def _check_types(self, tree: exp.Expr, condition: Condition) -> None:
        for node, kinds in self._operand_kinds(tree, (*_COMPARISONS, exp.Between, exp.In)):
            _refuse_unlike(node, kinds)
        for node, kinds in self._operand_kinds(tree, _LOGIC):
            _refuse_other_than_booleans(node, kinds)
        (kind,) = self._kinds([condition.sql])
        if kind != "a boolean":
            raise ConditionError(f"a condition is true or false, and this is {kind}: compare it with something")

    def _operand_kinds(self, tree: exp.Expr, of: tuple[type[exp.Expr], ...]) -> Iterator[tuple[exp.Expr, Mapping[str, str]]]:
        """Each node of those types, with what kind of value each text among its operands is."""
        nodes = [node for node in tree.walk() if isinstance(node, of)]
        texts = list(dict.fromkeys(_written(operand) for node in nodes for operand in _operands(node)))
        kinds = dict(zip(texts, self._kinds(texts), strict=True))
        return ((node, kinds) for node in nodes)

    def _kinds(self, texts: Sequence[str]) -> list[str]:
        """What kind of value each expression is; run on a row of nulls, so that what can never be computed shows."""
        if not texts:
            return []
        listed = ", ".join(f"({text}) as k{place}" for place, text in enumerate(texts))
        try:
            result = self._duckdb.execute(f"select {listed} from {', '.join((*RELATIONS, AS_OF[0]))}")
            found = [_kind(str(column[1])) for column in result.description or ()]
            result.fetchall()
        except duckdb.Error as error:
            raise ConditionError(f"DuckDB cannot compute this: {str(error).splitlines()[0]}") from None
        return ["null" if text == "null" else kind for text, kind in zip(texts, found, strict=True)]


def _parsed(text: str) -> exp.Expr:
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"the condition has {len(text):,} characters, more than the {MAX_LENGTH:,} allowed")
    if text.count("(") + text.count("[") + text.count("{") > 4 * MAX_DEPTH:
        raise ConditionError("there are too many brackets: write it more simply")
    try:
        trees = [tree for tree in _DIALECT.parse_into(exp.Condition, text) if tree]
    except (SqlglotError, RecursionError, ValueError, IndexError, AttributeError, TypeError, KeyError):
        # What its parser was not written for comes in all these.
        raise ConditionError("this is not one SQL expression: write one condition, without select, where or a semicolon") from None
    if not trees:
        raise ConditionError("the condition is empty: say who belongs to the segment, such as c.order_count >= 2")
    if len(trees) > 1:
        raise ConditionError("a condition is one expression: take out the semicolon")
    return trees[0]


def _checked(tree: exp.Expr) -> exp.Expr:
    """The tree, if every node is of an allowed kind."""
    if _depth(tree) > MAX_DEPTH:
        raise ConditionError(f"this is nested more than {MAX_DEPTH} levels deep: write it more simply")
    for node in tree.walk():
        if type(node) not in _ALLOWED:
            raise ConditionError(f"{_called(node)} is not allowed in a condition: {_instead(node)}")
        if isinstance(node, exp.Literal):
            _check_literal(node)
        if isinstance(node, exp.DataType) and node.this not in _TYPES:
            raise ConditionError(
                f"a cast to {node.this.value.lower()} is not allowed: use date, timestamp, bigint, double, decimal, varchar or boolean"
            )
        if isinstance(node, exp.Var) and not _UNIT.fullmatch(node.name):
            raise ConditionError("a unit of time is a word, such as day or month")
        if isinstance(node, exp.In) and not node.expressions and not node.args.get("query"):
            raise ConditionError("`in` needs a list of values in brackets")
    return tree


def _check_literal(literal: exp.Literal) -> None:
    text = literal.name
    if any(mark in text for mark in JINJA):
        raise ConditionError("a text in a condition cannot hold {{, {% or {#, nor what closes them: dbt would take it for a template")
    if any(not character.isprintable() for character in text):
        raise ConditionError("a text in a condition cannot hold line breaks or characters that are not printed")


def _resolved(tree: exp.Expr, columns: Columns) -> exp.Expr:
    """A copy with every column by its whole name, `current_date` by the day of the scores, and casts that cannot fail half-way."""

    def named(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.CurrentDate):
            return exp.column(AS_OF[1], table=AS_OF[0])
        return _known(node, columns) if isinstance(node, exp.Column) else node

    def never_failing(node: exp.Expr) -> exp.Expr:
        if type(node) is exp.Cast and not isinstance(node.this, exp.Literal):
            return exp.TryCast(this=node.this.transform(never_failing), to=node.args["to"], safe=True)
        return node

    # Said and read again: what is spelt in two ways is one tree from here on, and nothing in it is left as it was given.
    resolved = _checked(_parsed(_written(tree.transform(named).transform(never_failing))))
    names = {column.qualified for column in columns.columns if not column.is_personal} | {".".join(AS_OF)}
    if any(_name_of(column) not in names for column in resolved.find_all(exp.Column)):
        raise ConditionError("this reads differently when it is written down: write it more simply")
    return resolved


def _known(node: exp.Column, columns: Columns) -> exp.Column:
    alias, name = node.table.lower(), node.name.lower()
    if node.args.get("db") or (alias and alias not in RELATIONS):
        raise ConditionError(
            f"{_name_of(node)[:80]} is not known: columns are those of {' and '.join(f'{mart} ({short})' for short, mart in RELATIONS.items())}"
        )
    found = columns.named(name, alias or None)
    if not found:
        raise ConditionError(f"there is no column {_name_of(node)[:80]}: {_near(name, columns)}")
    if len(found) > 1:
        raise ConditionError(f"{name} is in both marts: say {' or '.join(column.qualified for column in found)}")
    if found[0].is_personal:
        raise ConditionError(f"{found[0].qualified} holds personal data, which a segment may not be made of: use another column")
    return exp.column(found[0].name, table=found[0].alias)


def _near(name: str, columns: Columns) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted({column.name for column in columns.columns}), n=3)
    if near:
        return "did you mean " + " or ".join(column.qualified for one in near for column in columns.named(one)[:1]) + "?"
    return "their yml in models/marts lists those there are"


def _written(node: exp.Expr) -> str:
    """SQL of a tree, in lower case outside of texts and without comments."""
    try:
        text = node.sql(dialect="duckdb", comments=False)
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, KeyError):
        raise ConditionError("this cannot be written down as SQL: write it more simply") from None
    plain, place = [], 0
    for literal in _LITERAL.finditer(text):
        plain += [text[place : literal.start()].lower(), literal.group()]
        place = literal.end()
    return "".join([*plain, text[place:].lower()])


def _conjuncts(tree: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(tree, exp.And):
        yield from _conjuncts(tree.this)
        yield tree.expression
    else:
        yield tree


def _operands(node: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(node, exp.Between):
        yield from (node.this, node.args["low"], node.args["high"])
    elif isinstance(node, exp.In):
        yield from (node.this, *node.expressions)
    elif isinstance(node, exp.Not):
        yield node.this
    else:
        yield from (node.this, node.expression)


def _refuse_other_than_booleans(node: exp.Expr, kinds: Mapping[str, str]) -> None:
    for operand in _operands(node):
        if (kind := kinds[_written(operand)]) not in ("a boolean", "null"):
            raise ConditionError(f"{_short(operand)} is {kind}, not true or false: compare it with something")


def _refuse_unlike(node: exp.Expr, kinds: Mapping[str, str]) -> None:
    first, *others = _operands(node)
    kind = kinds[_written(first)]
    for operand in others:
        other = kinds[_written(operand)]
        if "null" in (kind, other) or kind == other or _is_moment(first, kind, other) or _is_moment(operand, other, kind):
            continue
        raise ConditionError(f"{_short(first)} is {kind} and {_short(operand)} is {other}: they cannot be compared; {_advice(kind, other)}")


def _is_moment(operand: exp.Expr, kind: str, other: str) -> bool:
    """A text that says a day or a moment, beside one."""
    if kind != "a text" or other != "a date or moment" or not isinstance(operand, exp.Literal):
        return False
    try:
        datetime.fromisoformat(operand.name)
    except ValueError:
        return False
    return True


def _advice(kind: str, other: str) -> str:
    if "a date or moment" in (kind, other):
        return "write days as '2026-01-31', and distances as current_date - 30"
    if {kind, other} == {"a number", "a text"}:
        return "write numbers without quotes"
    if "a boolean" in (kind, other):
        return "say it without a comparison, or with `not` before it"
    return "compare like with like"


def _kind(dtype: str) -> str:
    name = dtype.lower()
    if name.endswith("]"):
        return "a list"
    if name.startswith("decimal") or name in _NUMBERS:
        return "a number"
    if name.startswith(("date", "timestamp")):
        return "a date or moment"
    return {"varchar": "a text", "boolean": "a boolean", "interval": "a span of time", '"null"': "null"}.get(name, f"of type {name}")


def _depth(tree: exp.Expr) -> int:
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        level = [child for node in level for child in node.iter_expressions()]
    return deepest


def _name_of(column: exp.Column) -> str:
    return ".".join(part.name.lower() for part in column.parts)


def _short(node: exp.Expr) -> str:
    text = _written(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _called(node: exp.Expr) -> str:
    if isinstance(node, (exp.Query, exp.Exists)):
        return "a subquery"
    if isinstance(node, exp.Window):
        return "a window function"
    if isinstance(node, exp.AggFunc):
        return "an aggregate"
    if isinstance(node, exp.CurrentTimestamp):
        return "the current time"
    if isinstance(node, exp.Anonymous):
        return f"the function {str(node.this)[:40].lower()}"
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name().lower()}"
    for kind, name in ((exp.Placeholder, "a placeholder"), (exp.Star, "a star")):
        if isinstance(node, kind):
            return name
    return f"`{node.key}`"


def _instead(node: exp.Expr) -> str:
    if isinstance(node, (exp.Query, exp.Exists, exp.Window, exp.AggFunc)):
        return "it is about one customer's columns; add what you need to customer_360"
    if isinstance(node, (exp.CurrentTimestamp, exp.Anonymous)) and "now" in str(node.args.get("this", "now")).lower():
        return "current_date is the day that the scores describe"
    return "use comparisons, and, or, not, between, in, like, case, arithmetic, dates, coalesce, nullif, abs, round, greatest, least, lower, upper, length, trim, starts_with"
