"""Rows of a sync's model as records: `record_key` and its fields, all text in the form in which they are compared and written.

Belongs here: conversions, in bulk, and refusing what can only be the model's mistake. Does not belong here: what differs (plan.py).
"""

from collections.abc import Callable

import polars as pl

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.activation.records import CANARY_COLUMN
from commerce_assets.activation.targets import DeclaredField, FileTarget

KEY_PATTERNS = {
    "customer": r"^gid://shopify/Customer/[0-9]+$",
    "product": r"^gid://shopify/Product/[0-9]+$",
    "order": r"^gid://shopify/Order/[0-9]+$",
}
GID = r"^gid://shopify/[A-Za-z]+/[0-9]+$"
MAX_REFERENCES = 128
"""Of a metafield that is a list (Shopify's limit)."""
LARGEST_NUMBER = 1e30
"""What a decimal of 38 digits holds beside six places."""
Convert = Callable[[pl.DataFrame, DeclaredField], pl.Expr | pl.Series]


def as_records(declared: DeclaredSync, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the model -> `record_key`, one text column a field, and `_canary` where a column marks the canary.

    A key that is null or not of the declared pattern becomes null, which the plan skips and counts. Raises `DesiredStateError` with nothing
    written where a column is missing, money is a float, or a value could never be right (a tag or a reference that is not ours to write).
    """
    _refuse_missing(declared, rows)
    records = rows.select(
        _key(declared).alias("record_key"),
        *(_converted(declared, rows, one).alias(one.name) for one in declared.fields),
        *((pl.col(declared.canary.column).fill_null(False).alias(CANARY_COLUMN),) if declared.canary and declared.canary.column else ()),
    )
    for one in declared.fields:
        if one.type == "tags" and one.tags:
            _refuse_foreign_tags(declared, records, one)
        if one.type == "references":
            records = _checked_references(declared, records, one)
    if declared.skip_empty_rows:
        names = [one.name for one in declared.fields if not one.carried]
        records = records.filter(pl.any_horizontal(pl.col(*names).is_not_null()) | pl.col("record_key").is_null())
    return records


def _converted(declared: DeclaredSync, rows: pl.DataFrame, one: DeclaredField) -> pl.Expr | pl.Series:
    return _hashed(declared, rows, one) if one.type in ("email_sha256", "phone_sha256") else _CONVERT[one.type](rows, one)


def _refuse_missing(declared: DeclaredSync, rows: pl.DataFrame) -> None:
    needed = [declared.key.column, *(one.source for one in declared.fields)]
    if declared.canary and declared.canary.column:
        needed.append(declared.canary.column)
    missing = [name for name in dict.fromkeys(needed) if name not in rows.columns]
    if missing:
        raise DesiredStateError(
            f"{_of(declared)}: model {declared.model} lacks {', '.join(missing)}; correct the model or the sync's fields"
        )


def _key(declared: DeclaredSync) -> pl.Expr:
    key = pl.col(declared.key.column).cast(pl.String)
    pattern = declared.key.pattern or KEY_PATTERNS.get(getattr(declared.target, "object", ""))
    if pattern:
        return pl.when(key.str.contains(pattern)).then(key)
    return pl.when(key.str.strip_chars() != "").then(key)


def _text(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    dtype = rows.schema[one.source]
    if dtype.is_nested() or dtype == pl.Binary:
        raise DesiredStateError(
            f"{one.source} is {dtype}, not text; declare field {one.name} as tags, references or json, or correct the model"
        )
    return pl.col(one.source).cast(pl.String)


def _money(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    """Whole cents, without zeros at the end: as the storefront gives it back."""
    dtype = rows.schema[one.source]
    if not (dtype.is_decimal() or dtype.is_integer() or dtype == pl.Null):
        raise DesiredStateError(f"{one.source} is {dtype}, not DECIMAL: money never travels as a float")
    cents = pl.col(one.source).cast(pl.Decimal(38, 4)).round(2).cast(pl.Decimal(38, 2)).cast(pl.String)
    return cents.str.strip_chars_end("0").str.strip_chars_end(".")


def _number(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    dtype, value = rows.schema[one.source], pl.col(one.source)
    if dtype.is_integer() or dtype == pl.Null:
        return value.cast(pl.String)
    if dtype.is_float():
        # Six places: finer differences of a score are noise, and would rewrite every record with every run. No number, or one beyond all
        # measure, is no value.
        value = pl.when(value.is_finite() & (value.abs() < LARGEST_NUMBER)).then(value).cast(pl.Decimal(38, 6))
    elif not dtype.is_decimal():
        raise DesiredStateError(f"{one.source} is {dtype}, not a number; declare field {one.name} as text, or correct the model")
    text = value.cast(pl.String)
    short = pl.when(text.str.contains(".", literal=True)).then(text.str.strip_chars_end("0").str.strip_chars_end(".")).otherwise(text)
    return pl.when(short == "-0").then(pl.lit("0")).otherwise(short)


def _integer(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    if not (rows.schema[one.source].is_integer() or rows.schema[one.source] == pl.Null):
        raise DesiredStateError(f"{one.source} is {rows.schema[one.source]}, not a whole number; cast it in the model")
    return pl.col(one.source).cast(pl.String)


def _boolean(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    if rows.schema[one.source] not in (pl.Boolean, pl.Null):
        raise DesiredStateError(f"{one.source} is {rows.schema[one.source]}, not a boolean; cast it in the model")
    return pl.col(one.source).replace_strict({True: "true", False: "false"}, return_dtype=pl.String)


def _date(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    del rows
    return pl.col(one.source).cast(pl.Date).cast(pl.String)


def _timestamp(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    """Models hold UTC without a zone."""
    dtype, moment = rows.schema[one.source], pl.col(one.source)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        moment = moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return moment.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr | pl.Series:
    dtype = rows.schema[one.source]
    if isinstance(dtype, pl.Struct):
        return pl.col(one.source).struct.json_encode()
    if dtype.is_nested():
        return rows.select(pl.struct(v=pl.col(one.source)).struct.json_encode().str.slice(5).str.head(-1)).to_series()
    return pl.col(one.source).cast(pl.String)


def _tags(rows: pl.DataFrame, one: DeclaredField) -> pl.Series:
    """Each row's tags: lower case, no repeats, sorted, joined by commas; null where there are none."""
    given = rows.get_column(one.source)
    joined = given.list.join(",", ignore_nulls=True) if isinstance(given.dtype, pl.List) else given.cast(pl.String)
    # There are few different sets of tags: each is put in order once.
    in_order = {text: _in_order(text) for text in joined.unique() if text is not None}
    if not in_order:
        return pl.Series(one.name, [None] * rows.height, dtype=pl.String)
    return joined.replace_strict(in_order, default=None, return_dtype=pl.String)


def _in_order(text: str) -> str | None:
    return ",".join(sorted({tag.strip().lower() for tag in text.split(",") if tag.strip()})) or None


def _references(rows: pl.DataFrame, one: DeclaredField) -> pl.Expr:
    """Kept as a list until it is checked."""
    dtype = rows.schema[one.source]
    if not isinstance(dtype, pl.List) and dtype != pl.Null:
        raise DesiredStateError(f"{one.source} is {dtype}, not a list of gids; correct the model")
    return pl.col(one.source).cast(pl.List(pl.String))


def _hashed(declared: DeclaredSync, rows: pl.DataFrame, one: DeclaredField) -> pl.Series:
    """An address as the tool asks for it that takes the file; others take the plain form."""
    from commerce_assets.activation.audiences import email_sha256, phone_sha256

    rule = declared.target.hash_rule if isinstance(declared.target, FileTarget) else "plain"
    addresses = rows.get_column(one.source).cast(pl.String)
    return email_sha256(addresses, rule) if one.type == "email_sha256" else phone_sha256(addresses, rule)


_CONVERT: dict[str, Convert] = {
    "text": _text,
    "money": _money,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
    "json": _json,
    "tags": _tags,
    "references": _references,
}


def _refuse_foreign_tags(declared: DeclaredSync, records: pl.DataFrame, one: DeclaredField) -> None:
    prefixes = tuple(prefix.lower() for prefix in one.tags.prefixes) if one.tags else ()
    tags = {tag for text in records[one.name].drop_nulls().unique() for tag in text.split(",")}
    foreign = sorted(tag for tag in tags if not tag.startswith(prefixes))
    if foreign:
        raise DesiredStateError(
            f"{_of(declared)}: tags {foreign[:3]} do not start with one of {list(prefixes)}: only tags of ours can be taken off again; "
            "rename them in the sync's model"
        )


def _checked_references(declared: DeclaredSync, records: pl.DataFrame, one: DeclaredField) -> pl.DataFrame:
    """Lists as compact JSON (gids need no escaping; null for an empty one).

    A list that the storefront would refuse, or show a customer as nonsense, is the model's mistake: nothing is written then.
    """
    held = pl.col(one.name)
    # list.product_reference takes products only.
    kind = (one.metafield.type.removeprefix("list.").removesuffix("_reference") if one.metafield else "") or "record"
    is_gid = pl.element().str.contains(KEY_PATTERNS.get(kind, GID)).fill_null(False)
    checks = {
        f"something that is no {kind}'s gid": ~held.list.eval(is_gid).list.all(),
        f"the {kind} itself": held.list.contains(pl.col("record_key")),
        f"a {kind} twice": held.list.n_unique() != held.list.len(),
        f"more than {MAX_REFERENCES} {kind}s": held.list.len() > MAX_REFERENCES,
    }
    for what, applies in checks.items():
        bad = records.filter(applies.fill_null(False))
        if bad.height:
            raise DesiredStateError(
                f"{_of(declared)}: {one.name} of {bad.height} records holds {what}, such as that of {bad['record_key'][0]}: "
                "correct the sync's model; nothing was written"
            )
    as_json = pl.when(held.list.len() > 0).then(pl.format('["{}"]', held.list.join('","')))
    return records.with_columns(as_json.alias(one.name))


def _of(declared: DeclaredSync) -> str:
    return f"{declared.destination}/{declared.name}"
