"""The types of metafields: which there are, what a value of each must look like, and how it is kept.

`read_value` gives the value as the shop keeps it, or the reason why it cannot, in the API's words. Recorded cases in
Shopify's captures decide; see `tests/conformance/test_sandbox_captures.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from commerce_assets.sandbox.documents import Doc

LENGTH_LIMIT = 65536
LIST_LIMIT = 128
MEASUREMENTS = (
    "antenna_gain",
    "area",
    "battery_charge_capacity",
    "battery_energy_capacity",
    "capacitance",
    "concentration",
    "data_storage_capacity",
    "data_transfer_rate",
    "dimension",
    "display_density",
    "distance",
    "duration",
    "electric_current",
    "electrical_resistance",
    "energy",
    "frequency",
    "illuminance",
    "inductance",
    "luminous_flux",
    "mass_flow_rate",
    "power",
    "pressure",
    "resolution",
    "rotational_speed",
    "sound_level",
    "speed",
    "temperature",
    "thermal_power",
    "voltage",
    "volume",
    "volumetric_flow_rate",
    "weight",
)
REFERENCES = (
    "company_reference",
    "customer_reference",
    "product_reference",
    "collection_reference",
    "variant_reference",
    "file_reference",
    "product_taxonomy_value_reference",
    "metaobject_reference",
    "mixed_reference",
    "disclosure_reference",
    "page_reference",
    "article_reference",
    "order_reference",
)
# The API's own order of types in its messages: plain ones by name ("date_time" before "date", "json_string" before "json").
_PLAIN = (
    *MEASUREMENTS,
    *("boolean", "color", "date_time", "date", "id", "json", "jurisdiction", "language", "link", "money"),
    *("multi_line_text_field", "number_decimal", "number_integer", "rating", "rich_text_field", "single_line_text_field", "url"),
)
_LEGACY = ("float", "integer", "json_string", "string")
_LISTABLE = tuple(
    name for name in _PLAIN if name not in ("boolean", "id", "json", "language", "money", "multi_line_text_field", "rich_text_field")
)


def _order(name: str) -> str:
    return name.replace("date_time", "datd").replace("json_string", "jsoa")


def _listing(plain: tuple[str, ...], lists: tuple[str, ...]) -> tuple[str, ...]:
    head = sorted([*plain, *(f"list.{name}" for name in lists)], key=_order)
    tail: list[str] = []
    for name in REFERENCES:
        tail.extend((name, f"list.{name}"))
        if name == "product_taxonomy_value_reference":
            tail.append("product_taxonomy_disclosure_reference")
    return (*head, *tail)


DEFINITION_TYPES = _listing(_PLAIN, _LISTABLE)
VALUE_TYPES = _listing((*_PLAIN, *_LEGACY), (*_LISTABLE, "boolean", "multi_line_text_field"))
_DEFINITION_SET = frozenset(DEFINITION_TYPES)
_VALUE_SET = frozenset(VALUE_TYPES)

CATEGORIES = {
    "boolean": "TRUE_FALSE",
    "color": "COLOR",
    "date": "DATE_TIME",
    "date_time": "DATE_TIME",
    "id": "ID",
    "json": "JSON",
    "link": "LINK",
    "money": "MONEY",
    "number_decimal": "NUMBER",
    "number_integer": "NUMBER",
    "rating": "RATING",
    "url": "URL",
}
UNITS = {
    "dimension": {"mm", "cm", "m", "in", "ft", "yd", "millimeters", "centimeters", "meters", "inches", "feet", "yards"},
    "volume": {
        *("ml", "cl", "l", "m3", "us_fl_oz", "us_pt", "us_qt", "us_gal", "imp_fl_oz", "imp_pt", "imp_qt", "imp_gal"),
        *("milliliters", "centiliters", "liters", "cubic_meters", "fluid_ounces", "pints", "quarts", "gallons"),
        *("imperial_fluid_ounces", "imperial_pints", "imperial_quarts", "imperial_gallons"),
    },
    "weight": {"oz", "lb", "g", "kg", "ounces", "pounds", "grams", "kilograms"},
}
URL_SCHEMES = ("http", "https", "mailto", "sms", "tel")
INTEGER = re.compile(r"\s*-?\d+(\.0+)?\s*$")
DECIMAL = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)\s*$")
INTEGER_LIMIT = 9_007_199_254_740_991
DECIMAL_LIMIT = Decimal("9999999999999.999999999")
NANO = Decimal("0.000000001")
MONEY_LIMIT = 10**18
CURRENCY = re.compile(r"[A-Z]{3}$")
NOT_CURRENCIES = frozenset({"ZZZ"})
MONEY_SHAPE = (
    "Value must be a stringified JSON object with amount (numeric) and currency_code (string matching the shop's currency) fields."
)
DATE_TIME_SHAPE = "Value must be in “YYYY-MM-DDTHH:MM:SS” format. For example: 2022-06-01T15:30:00"
NO_SCHEME = 'Value cannot have an empty scheme (protocol), must include one of the following URL schemes: ["http", "https", "mailto", "sms", "tel"].\''

# Whether a referenced object exists: `exists(gid, kinds)`.
Exists = Callable[[str, tuple[str, ...]], bool]
REFERENCE_KINDS: dict[str, tuple[str, ...]] = {
    "article_reference": ("Article",),
    "collection_reference": ("Collection",),
    "company_reference": ("Company",),
    "customer_reference": ("Customer",),
    "file_reference": ("MediaImage", "Video", "Model3d", "GenericFile", "ExternalVideo"),
    "metaobject_reference": ("Metaobject",),
    "mixed_reference": ("Metaobject",),
    "order_reference": ("Order",),
    "page_reference": ("Page",),
    "product_reference": ("Product",),
    "variant_reference": ("ProductVariant",),
}


class Problem(Exception):
    """Why a value is refused; `element` is the index in a list value."""

    def __init__(self, message: str, element: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.element = element


def is_value_type(name: str) -> bool:
    """Whether a metafield may have this type."""
    return name in _VALUE_SET


def is_definition_type(name: str) -> bool:
    """Whether a definition may have this type."""
    return name in _DEFINITION_SET


def category(name: str) -> str:
    """The category in which a definition's type is shown."""
    base = name.removeprefix("list.")
    if base in MEASUREMENTS:
        return "MEASUREMENT"
    if base.endswith("_reference"):
        return "REFERENCE"
    return CATEGORIES.get(base, "TEXT")


def read_value(name: str, value: str, exists: Exists, validations: list[Doc]) -> str:
    """The value as it is kept; `Problem` where type or the definition's validations refuse it."""
    if not value.strip():
        raise Problem("Value can't be blank.")
    if len(value) > LENGTH_LIMIT:
        raise Problem(f"Value is too long (maximum is {LENGTH_LIMIT} characters).")
    rules = {rule["name"]: rule["value"] for rule in validations}
    if name == "metaobject_reference" and "metaobject_definition_id" in rules:
        # The sandbox keeps no metaobjects, so no reference can be of the wanted definition.
        raise Problem(f"Value must belong to the specified metaobject definition {rules['metaobject_definition_id']}.")
    if not name.startswith("list."):
        kept = _one(name, value, exists)
        _obey(name, kept, rules)
        return kept
    base = name.removeprefix("list.")
    try:
        elements = json.loads(value)
    except json.JSONDecodeError as error:
        raise Problem(_json_problem(value, error)) from None
    if not isinstance(elements, list):
        raise Problem("Value must be an array.")
    if len(elements) > LIST_LIMIT:
        raise Problem(f"Value has more than {LIST_LIMIT} elements.")
    kept_elements: list[Any] = []
    for index, element in enumerate(elements):
        text = element if isinstance(element, str) else json.dumps(element, separators=(",", ":"), ensure_ascii=False)
        try:
            kept = _one(base, text, exists)
            _obey(base, kept, rules)
        except Problem as problem:
            at = None if base.endswith("_reference") else index
            raise Problem(problem.message, at) from None
        kept_elements.append(json.loads(kept) if not isinstance(element, str) else kept)
    return json.dumps(kept_elements, separators=(",", ":"), ensure_ascii=False)


def _one(name: str, value: str, exists: Exists) -> str:
    if name in MEASUREMENTS:
        return _measurement(name, value)
    if name.endswith("_reference"):
        return _reference(name, value, exists)
    reader = READERS.get(name)
    return reader(value) if reader else value


def _single_line(value: str) -> str:
    if not value.strip():
        raise Problem("Value can't be blank.")
    if "\n" in value or "\r" in value:
        raise Problem("Value must be a single line text string.")
    return value


def _integer(value: str) -> str:
    if not INTEGER.match(value):
        raise Problem("Value must be an integer.")
    number = int(Decimal(value.strip()))
    if number > INTEGER_LIMIT:
        raise Problem(f"Value can't exceed {INTEGER_LIMIT}.")
    if number < -INTEGER_LIMIT:
        raise Problem(f"Value can't be less than -{INTEGER_LIMIT}.")
    return str(number)


def _decimal(value: str) -> str:
    if not DECIMAL.match(value):
        raise Problem("Value must be a decimal.")
    number = Decimal(value.strip())
    if number > DECIMAL_LIMIT:
        raise Problem("Value can't exceed 9999999999999.")
    if number < -DECIMAL_LIMIT:
        raise Problem("Value can't be less than -9999999999999.")
    text = format(number.quantize(NANO, ROUND_DOWN), "f").rstrip("0")
    return text + "0" if text.endswith(".") else text


def _boolean(value: str) -> str:
    text = value.strip().lower()
    if text in ("true", "t", "1"):
        return "true"
    if text in ("false", "f", "0"):
        return "false"
    raise Problem("Value must be true or false.")


def _color(value: str) -> str:
    if not re.match(r"#[0-9a-fA-F]{6}$", value):
        raise Problem("Value must be a hex color code.")
    return value


def _date(value: str) -> str:
    try:
        if re.match(r"\d{4}-\d{2}-\d{2}$", value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    raise Problem("Value must be in YYYY-MM-DD format.")


def _date_time(value: str) -> str:
    try:
        if re.match(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}", value):
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            whole = re.sub(r"\.\d+", "", value)
            return whole if moment.tzinfo else f"{whole}+00:00"
    except ValueError:
        pass
    raise Problem(DATE_TIME_SHAPE)


def _json(value: str) -> str:
    try:
        json.loads(value)
    except json.JSONDecodeError as error:
        raise Problem(_json_problem(value, error)) from None
    return value


def _json_problem(value: str, error: json.JSONDecodeError) -> str:
    rest = value[error.pos :]
    word = re.match(r"[^\s,:{}\[\]]+", rest)
    got = word.group() if word else rest[:1]
    wanted = {"Expecting property name enclosed in double quotes": "expected object key", "Expecting ':' delimiter": "expected ':'"}
    expected = wanted.get(error.msg, "unexpected character")
    shown = f", got '{got}'" if got else ", got end of input"
    return f"Value is invalid JSON: {expected}{shown} at line {error.lineno} column {error.colno}."


def _object(value: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _money(value: str) -> str:
    parsed = _object(value)
    if parsed is None or set(parsed) != {"amount", "currency_code"}:
        raise Problem(MONEY_SHAPE)
    currency = parsed["currency_code"]
    if not isinstance(currency, str) or not currency.strip():
        raise Problem("Value must have a currency code.")
    amount = _number(parsed["amount"])
    if amount is None:
        raise Problem("Value must have a numeric amount.")
    if not CURRENCY.match(currency) or currency in NOT_CURRENCIES:
        raise Problem(f"Value contains an invalid currency, {currency}.")
    if abs(amount) >= MONEY_LIMIT:
        raise Problem(f"Value must be within +/-{MONEY_LIMIT}.")
    shown = format(amount.quantize(Decimal("0.01")), "f")
    return json.dumps({"amount": shown, "currency_code": currency}, separators=(",", ":"))


def _url(value: str) -> str:
    scheme, colon, _ = value.partition(":")
    if not colon or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*$", scheme):
        raise Problem(NO_SCHEME)
    if scheme.lower() not in URL_SCHEMES:
        raise Problem(f"Value must be one of the following URL schemes: {', '.join(URL_SCHEMES)}.")
    return value


def _link(value: str) -> str:
    parsed = _object(value)
    if parsed is None or not isinstance(parsed.get("url"), str):
        raise Problem("Value must be a valid link.")
    try:
        _url(parsed["url"])
    except Problem:
        raise Problem("Value must be a valid link.") from None
    return value


def _rating(value: str) -> str:
    parsed = _object(value)
    numbers = {name: _number((parsed or {}).get(name)) for name in ("value", "scale_min", "scale_max")}
    if any(number is None for number in numbers.values()):
        raise Problem("Value must be a stringified JSON object with value, scale_min and scale_max fields.")
    rated, least, most = (numbers[name] or Decimal(0) for name in ("value", "scale_min", "scale_max"))
    if rated > most:
        raise Problem(f"Value has a maximum of {most}.")
    if rated < least:
        raise Problem(f"Value has a minimum of {least}.")
    return value


def _measurement(name: str, value: str) -> str:
    parsed = _object(value)
    if parsed is None or not {"value", "unit"} <= set(parsed):
        raise Problem("Value must be a stringified JSON object with value and unit fields.")
    number = _number(parsed["value"])
    signed = name in ("temperature", "sound_level", "antenna_gain")
    if number is None or (number < 0 and not signed):
        raise Problem("Value must be a number." if signed else "Value must be a non-negative number.")
    unit = parsed["unit"]
    units = UNITS.get(name)
    if not isinstance(unit, str) or not unit or (units is not None and unit.lower() not in units):
        raise Problem("Value must be a supported unit.")
    return value


def _reference(name: str, value: str, exists: Exists) -> str:
    kinds = REFERENCE_KINDS.get(name, ())
    if not value.startswith("gid://shopify/") or (kinds and not exists(value, kinds)):
        raise Problem(f"Value references non-existent resource {value}.")
    return value


READERS: dict[str, Callable[[str], str]] = {
    "boolean": _boolean,
    "color": _color,
    "date": _date,
    "date_time": _date_time,
    "float": _decimal,
    "integer": _integer,
    "json": _json,
    "json_string": _json,
    "link": _link,
    "money": _money,
    "number_decimal": _decimal,
    "number_integer": _integer,
    "rating": _rating,
    "rich_text_field": _json,
    "single_line_text_field": _single_line,
    "url": _url,
}


# -- a definition's validations

OPTIONS: dict[str, frozenset[str]] = {
    "single_line_text_field": frozenset({"min", "max", "regex", "choices"}),
    "multi_line_text_field": frozenset({"min", "max", "regex"}),
    "number_integer": frozenset({"min", "max"}),
    "number_decimal": frozenset({"min", "max", "max_precision"}),
    "date": frozenset({"min", "max"}),
    "date_time": frozenset({"min", "max"}),
    "rating": frozenset({"scale_min", "scale_max"}),
    "json": frozenset({"schema"}),
    "url": frozenset({"allowed_domains"}),
    "id": frozenset({"min", "max", "regex"}),
    "metaobject_reference": frozenset({"metaobject_definition_id", "metaobject_definition_type"}),
    "mixed_reference": frozenset({"metaobject_definition_ids", "metaobject_definition_types"}),
    "file_reference": frozenset({"file_type_options"}),
}
_OPTION_KINDS = {"number_integer": "an integer", "number_decimal": "a decimal", "rating": "a decimal"}


def option_problem(name: str, rule: Doc) -> str | None:
    """Why a definition of this type cannot have this validation; None when it can."""
    base = name.removeprefix("list.")
    allowed = OPTIONS.get(base, frozenset({"min", "max"}) if base in MEASUREMENTS else frozenset())
    if name.startswith("list."):
        allowed |= {"list.min", "list.max"}
    option, value = rule["name"], rule["value"]
    if option not in allowed:
        return f"Validations value for option {option} contains an invalid value: '{option}' isn't supported for {name}."
    wanted = _OPTION_KINDS.get(base)
    if base in ("single_line_text_field", "multi_line_text_field", "id") and option in ("min", "max"):
        wanted = "an integer"
    if wanted and option != "regex":
        fits = INTEGER.match(value) if wanted == "an integer" else DECIMAL.match(value)
        if not fits:
            return f"Validations value for option {option} must be {wanted}."
    return None


def _obey(name: str, value: str, rules: dict[str, str]) -> None:
    if not rules:
        return
    if name in ("single_line_text_field", "multi_line_text_field", "id"):
        _obey_text(value, rules)
    elif name in ("number_integer", "number_decimal"):
        _obey_bounds(Decimal(value), rules, Decimal, str)
    elif name == "date":
        _obey_bounds(value, rules, str, str)
    elif name == "date_time":
        _obey_bounds(_instant(value), rules, _instant, _shown_instant)
    elif name == "rating":
        parsed = json.loads(value)
        scale = [(rules.get(rule), parsed.get(rule)) for rule in ("scale_min", "scale_max")]
        if any(rule is not None and _number(rule) != _number(own) for rule, own in scale):
            raise Problem("Value min and max on the rating value must be the same as the min and max on the definition.")


def _obey_text(value: str, rules: dict[str, str]) -> None:
    if "min" in rules and len(value) < int(Decimal(rules["min"])):
        raise Problem(f"Value has a minimum length of {rules['min']}.")
    if "max" in rules and len(value) > int(Decimal(rules["max"])):
        raise Problem(f"Value has a maximum length of {rules['max']}.")
    if "regex" in rules and not re.search(rules["regex"], value):
        raise Problem("Value is not the correct format.")
    if "choices" in rules:
        choices = json.loads(rules["choices"])
        if value not in choices:
            raise Problem(f"Value does not exist in provided choices: {json.dumps(choices, ensure_ascii=False)}.")


def _obey_bounds(value: Any, rules: dict[str, str], read: Callable[[str], Any], show: Callable[[str], str]) -> None:
    if "min" in rules and value < read(rules["min"]):
        raise Problem(f"Value has a minimum of {show(rules['min'])}.")
    if "max" in rules and value > read(rules["max"]):
        raise Problem(f"Value has a maximum of {show(rules['max'])}.")


def _instant(value: str) -> datetime:
    moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return moment if moment.tzinfo else datetime.fromisoformat(f"{value}+00:00")


def _shown_instant(value: str) -> str:
    return _instant(value).strftime("%Y-%m-%d %H:%M:%S %z")
