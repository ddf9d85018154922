"""Who buys in the generated store, when and for how much: a BG/NBD process with gamma-gamma spend, and people to go with it.

Belongs here: the numeric truth of customers and their purchases, their names, addresses and consents. Does not belong here:
what an order holds (`generate_orders`) and what is on sale (`generate_catalogue`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from commerce_assets.sandbox.documents import Doc, address_doc, customer_doc, gid

DAY = 86_400
WEEK = 7 * DAY
HISTORY_DAYS = 730

Floats = np.ndarray
Ints = np.ndarray


@dataclass(frozen=True)
class BuyingProcess:
    """Parameters of the process that makes purchases; rates are per week, money in the shop's currency.

    BG/NBD (Fader, Hardie, Lee 2005): a customer buys at rate lambda ~ Gamma(r, 1/alpha) and leaves with probability
    dropout ~ Beta(a, b) after any *repeat* purchase. Gamma-gamma (Fader, Hardie 2013): an order is worth
    Gamma(p, 1/nu), nu ~ Gamma(q, 1/v).
    """

    r: float = 0.9
    alpha: float = 5.5
    a: float = 0.8
    b: float = 5.2
    p: float = 5.0
    q: float = 3.8
    v: float = 38.0


@dataclass(frozen=True)
class Market:
    """A country that buys here: its share of customers, tax, currency shown, clock, and how its people and post codes look."""

    country: str
    share: float
    timezone: str
    currency: str
    rate: float
    """Units of `currency` for one unit of the shop's currency."""
    taxes_included: bool
    taxes: tuple[tuple[str, float], ...]
    taxed_shipping: bool
    home_location: int
    """Position of the location that ships there."""
    places: tuple[tuple[str, str | None], ...]
    """City and province code."""
    zip_pattern: str
    """`A` a letter, `9` a digit (never 0 in first place), `|` parts the alternatives; anything else stands for itself."""
    dial: str
    locale: str


EU = (("VAT", 0.20),)
MARKETS: tuple[Market, ...] = (
    Market(
        "GB",
        0.60,
        "Europe/London",
        "GBP",
        1.0,
        True,
        EU,
        True,
        0,
        (("London", "ENG"), ("Manchester", "ENG"), ("Bristol", "ENG"), ("Leeds", "ENG"), ("Glasgow", "SCT"), ("Cardiff", "WLS")),
        "SW9 9AA|M9 9AA|BS9 9AA|LS9 9AA|G9 9AA|CF9 9AA",
        "+447700",
        "en-GB",
    ),
    Market(
        "DE",
        0.09,
        "Europe/Berlin",
        "EUR",
        1.17,
        True,
        (("MwSt", 0.19),),
        True,
        1,
        (("Berlin", None), ("Hamburg", None), ("München", None), ("Köln", None)),
        "19999|29999|89999|59999",
        "+49151",
        "de-DE",
    ),
    Market(
        "FR",
        0.06,
        "Europe/Paris",
        "EUR",
        1.17,
        True,
        (("TVA", 0.20),),
        True,
        1,
        (("Paris", None), ("Lyon", None), ("Bordeaux", None)),
        "75099|69009|33000",
        "+33612",
        "fr-FR",
    ),
    Market(
        "NL",
        0.05,
        "Europe/Amsterdam",
        "EUR",
        1.17,
        True,
        (("BTW", 0.21),),
        True,
        1,
        (("Amsterdam", None), ("Utrecht", None), ("Rotterdam", None)),
        "1099 AA|3599 AA|3099 AA",
        "+31612",
        "nl-NL",
    ),
    Market(
        "IE",
        0.05,
        "Europe/Dublin",
        "EUR",
        1.17,
        True,
        (("VAT", 0.23),),
        True,
        1,
        (("Dublin", "D"), ("Cork", "CO"), ("Galway", "G")),
        "D09 A9A9|T12 A9A9|H91 A9A9",
        "+35385",
        "en-IE",
    ),
    Market(
        "ES",
        0.03,
        "Europe/Madrid",
        "EUR",
        1.17,
        True,
        (("IVA", 0.21),),
        True,
        1,
        (("Madrid", "M"), ("Barcelona", "B")),
        "28099|08099",
        "+34612",
        "es-ES",
    ),
    Market(
        "US",
        0.10,
        "America/New_York",
        "USD",
        1.31,
        False,
        (("State Tax", 0.06),),
        False,
        2,
        (("Trenton", "NJ"), ("New York", "NY"), ("Chicago", "IL"), ("Seattle", "WA")),
        "08699|10099|60699|98199",
        "+1609555",
        "en-US",
    ),
    Market(
        "CA",
        0.02,
        "America/Toronto",
        "CAD",
        1.82,
        False,
        (("GST", 0.05), ("PST", 0.07)),
        False,
        2,
        (("Vancouver", "BC"), ("Victoria", "BC")),
        "V9B 9C9|V9X 9V9",
        "+1604555",
        "en-CA",
    ),
)

FIRST_NAMES = (  # noqa: SIM905 - a list of words reads best as words
    "Ada Aisha Alan Alice Amara Andrew Anna Arjun Beatriz Ben Bruno Carla Chloe Clara Daniel David Edith Elena Ella Emil Emma Erik Eva "
    "Felix Finn Frida George Grace Hana Hannah Henry Hugo Ida Ines Iris Jack Jakub James Jana Jonas Julia Karim Kate Lara Lena Leo Liam "
    "Lina Louis Lucy Maja Marco Maria Max Mia Milan Mina Nadia Noah Nora Oliver Olivia Omar Oscar Paul Petra Priya Rosa Ruth Sam Sara "
    "Simon Sofia Tara Theo Thomas Tom Vera Victor Yara Yusuf Zoe"
).split()
LAST_NAMES = (  # noqa: SIM905 - a list of words reads best as words
    "Adams Ahmed Andersen Baker Bauer Becker Bell Berg Bernard Brown Byrne Carter Clark Cohen Cook Costa Davies Davis de_Vries Dubois "
    "Evans Fischer Fox Garcia Gill Gray Green Hall Harris Hill Hoffmann Hughes Jackson Jansen Jones Kaur Kelly Khan King Klein Koch "
    "Kowalski Lambert Lee Lewis Lopez Martin Mason Meyer Miller Moore Moreau Morgan Murphy Nguyen Novak O'Brien Patel Perez Price "
    "Reid Richter Rossi Roux Schmidt Scott Shah Silva Simon Singh Smit Smith Taylor Thomas Turner Walker Ward Weber White Wilson Wood Young"
).split()
STREETS = (  # noqa: SIM905 - a list of words reads best as words
    "Mill Lane|High Street|Station Road|Church Street|Park Avenue|Harbour Row|Market Square|Elm Grove|Victoria Road|Garden Walk|Long Acre|Bridge Street"
).split("|")
COMPANIES = (  # noqa: SIM905 - a list of words reads best as words
    "Alder & Finch|Bellweather Trading|Copperline Stores|Dovetail Interiors|Eastgate Gifts|Fernhill Farm Shops|Gable & Co|Hartwell Hotels|"
    "Ironbridge Cafes|Juniper Retail|Kestrel Boutiques|Larkspur Homes|Mossbank Garden Centres|Northlight Galleries|Oakmoor Foods"
).split("|")


@dataclass(frozen=True)
class Customers:
    """The truth about every customer of the process, one array a property, all of one length; moments are epoch seconds."""

    market: Ints
    first_at: Floats
    rate_per_week: Floats
    dropout: Floats
    spend_rate: Floats
    """nu of the gamma-gamma model: the mean order value is p / nu."""
    alive: np.ndarray
    company: Ints
    """Position in COMPANIES of the company a B2B customer buys for; -1 for everyone else."""


@dataclass(frozen=True)
class Purchases:
    """Every purchase of the process in order of time: who (position in Customers), when (epoch seconds), for how much."""

    customer: Ints
    at: Ints
    value: Floats


def season_weight(day: Ints, start: int) -> Floats:
    """How busy a day is for newcomers: growth over the years, weight on November and December, quiet Januaries and Sundays."""
    seconds = start + day * DAY
    months = (seconds.astype("datetime64[s]").astype("datetime64[M]").astype(int)) % 12
    by_month = np.array([0.75, 0.8, 0.9, 0.95, 1.0, 0.95, 0.85, 0.9, 1.0, 1.1, 1.7, 1.55])
    weekday = (seconds // DAY + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    by_weekday = np.array([1.1, 1.05, 1.0, 1.0, 1.05, 0.95, 0.85])
    return by_month[months] * by_weekday[weekday] * (0.8 + 0.5 * day / HISTORY_DAYS)


def draw_customers(rng: np.random.Generator, count: int, process: BuyingProcess, as_of: int) -> tuple[Customers, Purchases]:
    """`count` customers with their first and repeat purchases up to `as_of`.

    Seasons act on when customers arrive, never on the repeat process, so that its parameters stay recoverable.
    """
    start = as_of - HISTORY_DAYS * DAY
    days = np.arange(HISTORY_DAYS)
    weights = season_weight(days, start)
    first_at = np.sort(start + DAY * (rng.choice(days, count, p=weights / weights.sum()) + rng.random(count)))
    rate = rng.gamma(process.r, 1 / process.alpha, count)
    dropout = rng.beta(process.a, process.b, count)
    spend_rate = rng.gamma(process.q, 1 / process.v, count)

    alive = np.ones(count, dtype=bool)
    who, when = [np.arange(count)], [first_at]
    active, now = np.arange(count), first_at.copy()
    while active.size:
        now[active] += WEEK * rng.exponential(1 / rate[active])
        active = active[now[active] < as_of]
        who.append(active)
        when.append(now[active])
        left = rng.random(active.size) < dropout[active]
        alive[active[left]] = False
        active = active[~left]

    market = rng.choice(len(MARKETS), count, p=np.array([market.share for market in MARKETS]))
    customer, at = np.concatenate(who), np.concatenate(when)
    at = local_hours(rng, at, market[customer], as_of)
    order = np.lexsort((customer, at))
    customer, at = customer[order], at[order]
    value = np.maximum(rng.gamma(process.p, 1.0, customer.size) / spend_rate[customer], 3.0)
    first = np.full(count, as_of)
    np.minimum.at(first, customer, at)

    company = np.full(count, -1)
    big = np.argsort(spend_rate)[: max(1, round(count * 0.03))]
    company[big] = rng.integers(0, len(COMPANIES), big.size)
    return Customers(market, first, rate, dropout, spend_rate, alive, company), Purchases(customer, at, value)


HOUR_WEIGHTS = np.array([2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 10, 10, 11, 10, 9, 9, 9, 9, 10, 12, 13, 12, 8, 4], dtype=float)
SUMMER_OFFSET_HOURS = {"GB": 0, "IE": 0, "US": -5, "CA": -5}


def local_hours(rng: np.random.Generator, at: Floats, market: Ints, as_of: int) -> Ints:
    """Moves each moment within its day to an hour at which people of that market shop; never beyond `as_of`."""
    offsets = np.array([SUMMER_OFFSET_HOURS.get(m.country, 1) for m in MARKETS])[market]
    hour = rng.choice(24, at.size, p=HOUR_WEIGHTS / HOUR_WEIGHTS.sum())
    moved = (at // DAY) * DAY + ((hour - offsets) % 24) * 3_600 + rng.integers(0, 3_600, at.size)
    latest = as_of - rng.integers(600, 6 * 3_600, at.size)
    return np.minimum(moved, latest).astype(np.int64)


def zip_code(pattern: str, place: int, draw: float) -> str:
    """A post code of the place, its digits and letters taken from `draw` in [0, 1)."""
    code, rest = [], int(draw * 10**9)
    for position, sign in enumerate(pattern.split("|")[place]):
        if sign == "9":
            rest, digit = divmod(rest, 9)
            code.append(str(digit + 1))
        elif sign == "A" and position > 0:
            rest, letter = divmod(rest, 8)
            code.append("ADEFHNPR"[letter])
        else:
            code.append(sign)
    return "".join(code)


@dataclass(frozen=True)
class Person:
    """Name and home of a customer or guest."""

    first_name: str
    last_name: str
    email: str
    phone: str
    address: Doc
    """A MailingAddress without id."""


def person(draws: list[float], number: int, market: Market, company: int) -> Person:
    """The person behind six draws in [0, 1); `number` keeps e-mail addresses unique."""
    first = FIRST_NAMES[int(draws[0] * len(FIRST_NAMES))]
    last = LAST_NAMES[int(draws[1] * len(LAST_NAMES))].replace("_", " ")
    place = int(draws[2] * len(market.places))
    city, province = market.places[place]
    domain = "example.com" if company < 0 else COMPANIES[company].lower().replace(" & ", "-").replace(" ", "-") + ".example"
    handle = f"{first}.{last}".lower().replace("'", "").replace(" ", "")
    phone = f"{market.dial}{int(draws[3] * 9_000) + 1_000:04d}" + ("56" if len(market.dial) < 8 else "")
    address: Doc = {
        "firstName": first,
        "lastName": last,
        "address1": f"{int(draws[4] * 180) + 1} {STREETS[int(draws[5] * len(STREETS))]}",
        "city": city,
        "provinceCode": province,
        "zip": zip_code(market.zip_pattern, place, draws[4]),
        "countryCodeV2": market.country,
        "phone": phone,
    }
    if company >= 0:
        address["company"] = COMPANIES[company]
    return Person(first, last, f"{handle}.{number % 1_000_000}@{domain}", phone, {k: v for k, v in address.items() if v is not None})


def customer_document(number: int, who: Person, draws: list[float], created: str, updated: str, market: Market, tags: list[str]) -> Doc:
    """A customer with address, consents, tags and now and then a note; `draws` are five in [0, 1)."""
    state = "SUBSCRIBED" if draws[0] < 0.55 else "UNSUBSCRIBED" if draws[0] < 0.65 else "NOT_SUBSCRIBED"
    home = address_doc(number * 10 + 1, who.address["countryCodeV2"], **{k: v for k, v in who.address.items() if k != "countryCodeV2"})
    addresses = [home]
    if draws[1] < 0.12:
        work = {k: v for k, v in who.address.items() if k != "countryCodeV2"} | {
            "address1": "Unit 4, Harbour Works",
            "address2": "First floor",
        }
        addresses.append(address_doc(number * 10 + 2, who.address["countryCodeV2"], **work))
    more: Doc = {
        "firstName": who.first_name,
        "lastName": who.last_name,
        "updatedAt": updated,
        "locale": market.locale,
        "addressesV2": addresses,
        "state": "ENABLED" if draws[2] < 0.4 else "INVITED" if draws[2] < 0.43 else "DISABLED",
    }
    if tags:
        more["tags"] = tags
    if "company" in home:
        more["taxExempt"] = market.country != "GB"
    if draws[3] < 0.04:
        more["note"] = ("Prefers the back door bell.", "Birthday in June, likes a card.", "Ask before substituting items.")[
            int(draws[3] * 75) % 3
        ]
    doc = customer_doc(number, created, email=who.email, phone=who.phone if draws[4] < 0.6 else None, marketing=state, **more)
    if "defaultPhoneNumber" in doc:
        sms = "SUBSCRIBED" if draws[4] < 0.2 else "NOT_SUBSCRIBED"
        doc["defaultPhoneNumber"]["smsMarketingConsent"] = {
            "state": sms,
            "optInLevel": "SINGLE_OPT_IN" if sms == "SUBSCRIBED" else None,
            "updatedAt": created if sms == "SUBSCRIBED" else None,
        }
    return doc


def company_entity(company: int) -> Doc:
    """The purchasing entity of a B2B order."""
    return {"__typename": "PurchasingCompany", "company": {"id": gid("Company", 910_001 + company), "name": COMPANIES[company]}}
