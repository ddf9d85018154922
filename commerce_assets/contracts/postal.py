"""Postal codes: the format of each country that has one we know.

A country that is absent has no postal code, or no format worth refusing a row for; its codes pass.
"""

_FIVE = r"\d{5}"
_FOUR = r"\d{4}"
_SIX = r"\d{6}"
_THREE_TWO = r"\d{3} ?\d{2}"
_BRITISH = r"GIR ?0AA|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|BFPO ?\d{1,4}"

POSTAL_FORMATS: dict[str, str] = {
    "AT": r"(?:A-?)?\d{4}",
    "AU": _FOUR,
    "BE": r"(?:B-?)?\d{4}",
    "BG": _FOUR,
    "BR": r"\d{5}-?\d{3}",
    "CA": r"[ABCEGHJ-NPRSTVXY]\d[A-Z][ -]?\d[A-Z]\d",
    "CH": r"(?:CH-?)?\d{4}",
    "CN": _SIX,
    "CY": r"(?:CY-?)?\d{4}",
    "CZ": _THREE_TWO,
    "DE": r"(?:D-?)?\d{5}",
    "DK": r"(?:DK-?)?\d{4}",
    "EE": _FIVE,
    "ES": _FIVE,
    "FI": r"(?:FI-?)?\d{5}",
    "FR": r"(?:F-?)?\d{2} ?\d{3}",
    "GB": _BRITISH,
    "GG": r"GY\d{1,2} ?\d[A-Z]{2}",
    "GR": _THREE_TWO,
    "HR": r"(?:HR-?)?\d{5}",
    "HU": r"(?:H-?)?\d{4}",
    "ID": _FIVE,
    "IE": r"(?:[AC-FHKNPRTV-Y]\d{2}|D6W) ?[\dAC-FHKNPRTV-Y]{4}",
    "IL": r"\d{5}(?:\d{2})?",
    "IM": r"IM\d{1,2} ?\d[A-Z]{2}",
    "IN": r"[1-9]\d{2} ?\d{3}",
    "IS": r"\d{3}",
    "IT": r"(?:I-?)?\d{5}",
    "JE": r"JE\d{1,2} ?\d[A-Z]{2}",
    "JP": r"\d{3}-?\d{4}",
    "KR": r"\d{5}|\d{3}-\d{3}",
    "LI": r"94(?:8[5-9]|9[0-8])",
    "LT": r"(?:LT-?)?\d{5}",
    "LU": r"(?:L-?)?\d{4}",
    "LV": r"(?:LV-?)?\d{4}",
    "MC": r"980\d{2}",
    "MT": r"[A-Z]{3} ?\d{2,4}",
    "MX": _FIVE,
    "MY": _FIVE,
    "NL": r"[1-9]\d{3} ?[A-Z]{2}",
    "NO": r"(?:N-?)?\d{4}",
    "NZ": _FOUR,
    "PH": _FOUR,
    "PL": r"\d{2}-?\d{3}",
    "PR": r"00[679]\d{2}(?:-?\d{4})?",
    "PT": r"\d{4}(?:[- ]?\d{3})?",
    "RO": _SIX,
    "RU": _SIX,
    "SE": r"(?:SE?-?)?\d{3} ?\d{2}",
    "SG": _SIX,
    "SI": r"(?:SI-?)?\d{4}",
    "SK": _THREE_TWO,
    "TH": _FIVE,
    "TR": _FIVE,
    "TW": r"\d{3}(?:-?\d{2,3})?",
    "UA": _FIVE,
    "US": r"\d{5}(?:[- ]?\d{4})?",
    "ZA": _FOUR,
}
"""ISO alpha-2 -> a pattern that the whole code, upper-cased, without white space around it, must match."""
