"""Tools that are reached by signed JSON over HTTP: one call a record, or one call for many.

A template says what a record looks like there. A string in it that is exactly `{field}` becomes the field's value; `{field:number}`,
`:integer`, `:boolean`, `:json` and `:list` (of a set of tags) say as what, and without a hint the value is text. `{key}` is the record's
key, `{idempotency_key}` the same for the same content, whoever sends it and however often. Every other string is sent as it is.

`${NAME}` in a header is read from the environment when a call is sent. No declaration holds a secret; what looks like one is refused.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from commerce_assets.activation.targets.base import Declared, DeclaredField, FieldType, Target

Hint = Literal["text", "number", "integer", "boolean", "json", "list"]
Per = Literal["row", "batch"]
ENV_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
KEY, IDEMPOTENCY_KEY = "key", "idempotency_key"
RESERVED = (KEY, IDEMPOTENCY_KEY)
MAX_CONCURRENCY = 32
MAX_ROWS = 50_000
_PLACEHOLDER = re.compile(r"^\{([a-z][a-z0-9_]*)(?::([a-z]+))?\}$")
_WITHIN = re.compile(r"\{([a-z][a-z0-9_]*)(?::[a-z]+)?\}")
_HEADER = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that are made of the call itself."""
_SECRET_HEADER = re.compile(r"(?i)authorization|cookie|token|secret|password|api-?key|access-?key")
_TOKEN_PREFIX = re.compile(r"(?i)^(sk|pk|rk|xox[a-z]|gh[a-z]|glpat|shp[a-z]{2}|key|whsec)[_-]\w")
_LONG_PIECE = 20
"""Characters from which on a piece of letters and digits is taken for a token."""
_HINTS: Mapping[FieldType, Hint] = {
    "money": "number",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "json": "json",
    "tags": "list",
    "references": "json",
}
"""Type of a field -> its hint in the template that is made where none is given; others are text."""


@dataclass(frozen=True)
class Placeholder:
    """What a string of a template stands for."""

    name: str
    hint: Hint = "text"


def placeholder(text: str) -> Placeholder | None:
    """What the string stands for; None where it is sent as it is. Raises `ValueError` for a hint that there is not."""
    found = _PLACEHOLDER.match(text)
    if found is None:
        return None
    hint = found[2] or "text"
    if hint not in get_args(Hint):
        raise ValueError(f"{text}: there is no hint {hint}, only {', '.join(get_args(Hint))}")
    return Placeholder(found[1], cast(Hint, hint))


def steps_of(path: str) -> list[str]:
    """The steps of a path into JSON: `data.attributes.profiles.data`, `errors.0.source`; none for an empty one."""
    return path.split(".") if path else []


class _Call(Declared):
    """How records are put into calls."""

    template: Any = Field(None, description="JSON of one record; by default {key, and each field under its name}.")
    envelope: Mapping[str, Any] = Field(
        default_factory=dict, description="Batches: the JSON around the records, with rows_at in it made where it is missing."
    )
    rows_at: str | None = Field(
        None,
        pattern=r"^[^.\s]+(\.[^.\s]+)*$",
        description="Batches: where in the envelope the list of records goes, such as data.attributes.profiles.data; by default the list is the body.",
    )


class RemoveOptions(_Call):
    """How a removal is sent, where it is another call than a write."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = Field("DELETE", description="HTTP method.")
    url: str = Field(description="Where removals are sent; {key} in it is the record's key. On the same host as `url`.")
    per: Per | None = Field(None, description="One call a record, or one for many; by default as writes are sent.")


class SignOptions(Declared):
    """HMAC of the body, by which the receiver knows who sent it and that nobody changed it."""

    secret_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable with the secret.")
    header: str = Field("X-Signature", pattern=_HEADER.pattern, description="Header that carries the signature.")
    algorithm: Literal["sha256"] = Field("sha256", description="HMAC with this hash.")
    encoding: Literal["hex", "base64"] = Field("hex", description="How the signature is written.")
    prefix: str = Field("", pattern=r"^[\x21-\x7e]*$", description="Text before it, such as sha256=.")
    timestamp_header: str | None = Field(
        None,
        pattern=_HEADER.pattern,
        description="Header with the seconds since 1970; then `<seconds>.<body>` is what is signed, so that a receiver can refuse what is old.",
    )


class RetryOptions(Declared):
    """Calls that are sent again: those answered with a status in statuses.retry, and those that got no answer where repeating does no harm."""

    attempts: int = Field(5, ge=1, le=20, description="Calls in all.")
    base_seconds: float = Field(0.5, gt=0, le=60, description="The first pause is a random share of this; it doubles each time.")
    cap_seconds: float = Field(30.0, gt=0, le=600, description="No pause of ours is longer.")
    longest_wait_seconds: float = Field(
        120.0, ge=0, le=3600, description="A Retry-After that asks for more is not waited for: the push stops, and the next one goes on."
    )


class RateOptions(Declared):
    """How many calls may be sent, reads included. What the receiver allows, or less where others use the same account."""

    per_second: int | None = Field(None, ge=1, description="Calls in any second.")
    per_minute: int | None = Field(None, ge=1, description="Calls in any minute.")


class StatusOptions(Declared):
    """What a status means; any other refuses the call."""

    ok: tuple[int, ...] = Field((200, 201, 202, 204), description="Taken.")
    retry: tuple[int, ...] = Field((408, 425, 429, 500, 502, 503, 504), description="To be sent again, under the same key.")
    gone: tuple[int, ...] = Field((404, 410), description="One call a record: it is not there and cannot be made by writing it.")
    exists: tuple[int, ...] = Field((409, 412), description="One call a record, mode insert_only: it is there already.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> "StatusOptions":
        every = [*self.ok, *self.retry, *self.gone, *self.exists]
        if twice := sorted({status for status in every if every.count(status) > 1}):
            raise ValueError(f"status {twice[0]} is to mean two things")
        if wrong := [status for status in every if not 200 <= status <= 599]:
            raise ValueError(f"{wrong[0]} is no status of an answer")
        return self


class RowErrorOptions(Declared):
    """Batches: how an answer names the records that were refused; the others of an answer in statuses.ok were taken."""

    at: str = Field(description="Path to the list of errors in the answer, such as errors.")
    pointer: str | None = Field(None, description="Path in an error to the place of the record, such as source.pointer.")
    pattern: str = Field(
        r"/([0-9]+)(?:/|$)", description="Regular expression whose first group is the record's number in the batch, from 0."
    )
    key: str | None = Field(None, description="Path in an error to the record's key, instead of pointer.")
    code: str | None = Field(None, description="Path in an error to a short code, which becomes the reason. Never one to a message.")

    @field_validator("pattern")
    @classmethod
    def _has_a_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error:
            raise ValueError("pattern is no regular expression") from None
        if groups < 1:
            raise ValueError("pattern has no group for the record's number")
        return pattern

    @model_validator(mode="after")
    def _names_rows(self) -> "RowErrorOptions":
        if (self.pointer is None) == (self.key is None):
            raise ValueError("row_errors needs pointer or key, and not both: how does an error name its record?")
        return self


class ReadOptions(Declared):
    """How what is held is read back. With it, lost answers are resolved, pushes undone and canaries compared."""

    url: str = Field(description="Address of one record, with {key}; on the same host as `url`. 404 and 410 say that it is not there.")
    method: Literal["GET"] = Field("GET", description="HTTP method.")
    fields: Mapping[str, str] = Field(description="Field -> path to its value in the answer, such as data.attributes.segment.")


class ProbeOptions(Declared):
    """A call that is made before a push, to see that the receiver is there and knows us."""

    url: str = Field(description="An address that changes nothing, on the same host as `url`.")
    method: Literal["GET", "HEAD", "OPTIONS"] = Field("GET", description="HTTP method.")
    ok: tuple[int, ...] = Field((200, 204), description="Statuses that say all is well.")


class HttpTarget(Target, _Call):
    """An HTTP endpoint that takes JSON."""

    kind: Literal["http"] = "http"
    url: str = Field(pattern=r"^https?://", description="Where records are sent; {key} in it is the record's key (one call a record).")
    method: Literal["POST", "PUT", "PATCH"] = Field("POST", description="HTTP method.")
    allow_plain_http: bool = Field(
        False, description="Whether http:// may be used beyond this machine: everybody on the way can read it then."
    )
    headers: Mapping[str, str] = Field(
        default_factory=dict, description="Headers; ${NAME} in a value is read from the environment when a call is sent."
    )
    per: Per = Field("row", description="One call a record, or one for many.")
    batch_rows: int = Field(100, ge=1, le=MAX_ROWS, description="Batches: records a call, at most.")
    batch_bytes: int | None = Field(None, ge=1_000, description="Bytes of a call's body, at most.")
    row_bytes: int | None = Field(None, ge=100, description="Bytes of one record, at most; a larger one fails alone, unsent.")
    omit_nulls: bool = Field(
        False,
        description="Leave members out that have no value, where the receiver takes a missing one for empty; else they are sent as null.",
    )
    identifiers: tuple[str, ...] = Field(
        (),
        description="Fields by which the receiver knows the record, such as email: other syncs may send them too, one of them needs a value, and "
        "neither a null nor a removal clears them.",
    )
    remove: RemoveOptions | None = Field(None, description="How removals are sent; by default as a write in which every field is null.")
    removals: Literal["send", "skip"] = Field("send", description="skip: the receiver takes no removals; they are counted as skipped.")
    sign: SignOptions | None = Field(None, description="Signature of each call.")
    idempotency_header: str | None = Field(
        "Idempotency-Key", pattern=_HEADER.pattern, description="Header with a key that is the same for the same content; null for none."
    )
    repeatable: bool = Field(
        False,
        description="Whether a call sent twice leaves what it leaves sent once: an upsert, or a receiver that takes an idempotency key only once. "
        "Then a call whose answer was lost is sent again at once. A PUT always is.",
    )
    concurrency: int = Field(4, ge=1, le=MAX_CONCURRENCY, description="Calls in flight at once.")
    timeout_seconds: float = Field(30.0, gt=0, le=600, description="How long an answer may take.")
    retries: RetryOptions = Field(default_factory=RetryOptions, description="Calls that are repeated.")
    rate: RateOptions = Field(default_factory=RateOptions, description="How many calls may be sent.")
    statuses: StatusOptions = Field(default_factory=StatusOptions, description="What a status means.")
    row_errors: RowErrorOptions | None = Field(None, description="Batches: how an answer names records that were refused.")
    read: ReadOptions | None = Field(None, description="How what is held is read back; without it nothing can be undone.")
    probe: ProbeOptions | None = Field(None, description="A call that is made before a push, to see that the receiver is there.")

    @property
    def removal_per(self) -> Per:
        """How removals are put into calls."""
        return (self.remove.per if self.remove else None) or self.per

    @property
    def env_names(self) -> tuple[str, ...]:
        """Environment variables that a call needs."""
        named = [name for value in self.headers.values() for name in ENV_NAME.findall(value)]
        return tuple(dict.fromkeys([*named, *([self.sign.secret_env] if self.sign else [])]))

    @property
    def is_local(self) -> bool:
        """Whether it is this machine that is called."""
        return _is_loopback(urlsplit(self.url).hostname or "")

    def template_for(self, fields: Sequence[DeclaredField]) -> Any:
        """The template of one record, made of the fields' names and types where none is given."""
        if self.template is not None:
            return self.template
        hints = ((one.name, _HINTS.get(one.type)) for one in fields)
        return {KEY: f"{{{KEY}}}"} | {name: f"{{{name}:{hint}}}" if hint else f"{{{name}}}" for name, hint in hints}

    def claims(self, fields: Sequence[DeclaredField]) -> frozenset[str]:
        """By the place in the receiver's JSON, whatever the field is called here."""
        at = _without_credentials(self.url)
        owned = [one.name for one in fields if one.name not in self.identifiers]
        try:
            places = [(one.name, path) for path, one in _placeholders(self.template_for(fields))]
        except ValueError:
            places = []
        there = {name for name, _ in places}
        places += [(name, name) for name in owned if name not in there]
        return frozenset(f"http/{at}#{path}" for name, path in places if name in owned)

    def mistakes(self, fields: Sequence[DeclaredField]) -> list[str]:
        found = [f"field {one.name} has options of Shopify's" for one in fields if one.metafield or one.tags]
        found += [f"field {one.name} has the name of a placeholder: rename it" for one in fields if one.name in RESERVED]
        names = [one.name for one in fields]
        found += self._url_mistakes()
        found += self._header_mistakes()
        found += self._template_mistakes(fields, names)
        found += self._batch_mistakes()
        found += [f"identifiers name {name}, which is no field" for name in self.identifiers if name not in names]
        if self.remove and self.removals == "skip":
            found.append("removals are skipped, so `remove` is never used: take one of them out")
        if self.read:
            found += [f"read.fields names {name}, which is no field" for name in self.read.fields if name not in names]
            found += [f"read.fields lacks {name}: what was read would count it as empty" for name in names if name not in self.read.fields]
        return found

    def _url_mistakes(self) -> list[str]:
        found = []
        urls = [("url", self.url, self.per == "row")]
        if self.remove:
            urls.append(("remove.url", self.remove.url, self.removal_per == "row"))
        if self.read:
            urls.append(("read.url", self.read.url, True))
        if self.probe:
            urls.append(("probe.url", self.probe.url, False))
        for name, url, may_hold_key in urls:
            found += [f"{name} {problem}" for problem in self._problems_of(url, may_hold_key)]
        home = _origin(self.url)
        found += [
            f"{name} is at another host than url: the headers, and what is secret in them, are for one host"
            for name, url, _ in urls[1:]
            if _origin(url) != home
        ]
        if self.read and f"{{{KEY}}}" not in self.read.url:
            found.append("read.url holds no {key}: which record would it read?")
        return found

    def _problems_of(self, url: str, may_hold_key: bool) -> list[str]:
        found = []
        try:
            parts, _ = urlsplit(url), urlsplit(url).port
        except ValueError:
            return ["is no URL"]
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return ["is no URL of https://"]
        if parts.username is not None or parts.password is not None:
            found.append("holds a user or a password: put them into a header, as ${NAME}")
        if parts.scheme == "http" and not (_is_loopback(parts.hostname) or self.allow_plain_http):
            found.append("is http://, which everybody on the way can read: use https://")
        if parts.fragment:
            found.append("has a part after #, which is never sent")
        if "${" in url:
            found.append("holds ${…}: addresses are logged on the way; put what is secret into a header")
        elif any(_looks_secret(piece) for piece in re.split(r"[&=]", parts.query)):
            found.append("has something like a token after its ?: put it into a header, as ${NAME}")
        if "{" in parts.netloc:
            found.append("names its host by a placeholder: a host is always written out")
        others = [name for name in re.findall(r"(?<!\$)\{([^{}]*)\}", url) if name != KEY]
        found += [f"holds {{{name}}}: only {{{KEY}}} can stand in an address" for name in others]
        if f"{{{KEY}}}" in url and not may_hold_key:
            found.append("holds {key}, and the call is for more than one record: set per: row")
        return found

    def _header_mistakes(self) -> list[str]:
        found = []
        taken = [self.idempotency_header, *((self.sign.header, self.sign.timestamp_header) if self.sign else ())]
        for name, value in self.headers.items():
            literal = ENV_NAME.sub("", value)
            if not _HEADER.match(name):
                found.append(f"{name!r} is no name of a header")
            elif name.lower() in _OURS:
                found.append(f"header {name} is made of the call itself: leave it out")
            elif name.lower() in [one.lower() for one in taken if one]:
                found.append(f"header {name} is set twice: by headers, and by sign or idempotency_header")
            if "${" in literal:
                found.append(f"header {name}: an environment variable is written ${{NAME}}")
            elif not re.fullmatch(r"[\x20-\x7e]*", value):
                found.append(f"header {name} holds characters that no header can")
            elif (_SECRET_HEADER.search(name) and not ENV_NAME.search(value)) or any(map(_looks_secret, re.split(r"[\s;,]+", literal))):
                # The value itself is not shown: it may be a secret.
                found.append(f"header {name} seems to hold a secret: put it into the environment and write ${{NAME}} here")
        return found

    def _template_mistakes(self, fields: Sequence[DeclaredField], names: Sequence[str]) -> list[str]:
        found: list[str] = []
        used = set(self.identifiers) if self.template is None else set[str]()
        templates = [("template", self.template_for(fields))]
        if self.remove and self.remove.template is not None:
            templates.append(("remove.template", self.remove.template))
        for title, template in templates:
            try:
                there = [one for _, one in _placeholders(template)]
            except ValueError as error:
                found.append(f"{title}: {error}")
                continue
            found += [
                f"{title} names {{{one.name}}}, which is no field" for one in there if one.name not in names and one.name not in RESERVED
            ]
            found += [
                f"{title}: {text!r} is no placeholder, for there is more beside it: a string is a value or is sent as it is"
                for text in _strings(template)
                if placeholder(text) is None and any(name in names or name in RESERVED for name in _WITHIN.findall(text))
            ]
            if title == "template":
                used |= {one.name for one in there}
                found += [f"field {name} is not in the template: it would never be sent" for name in names if name not in used]
        is_known_by = used & {KEY, *self.identifiers} or f"{{{KEY}}}" in self.url
        if not found and not is_known_by:
            found.append(
                "neither template nor url holds {key}, and there are no identifiers: how does the receiver know which record it is?"
            )
        return found

    def _batch_mistakes(self) -> list[str]:
        found = []
        for title, call, per in (("", self, self.per), ("remove.", self.remove, self.removal_per)):
            if call is None:
                continue
            if per == "row":
                found += [
                    f"{title}{name} is for batches: set per: batch" for name in ("rows_at", "envelope") if name in call.model_fields_set
                ]
                continue
            if call.envelope and not call.rows_at:
                found.append(f"{title}envelope needs {title}rows_at: where in it do the records go?")
            if call.rows_at and _is_taken(call.envelope, steps_of(call.rows_at)):
                found.append(f"{title}envelope holds something at {call.rows_at} already, where the records go")
            try:
                others = [one.name for _, one in _placeholders(call.envelope) if one.name != IDEMPOTENCY_KEY]
            except ValueError as error:
                found.append(f"{title}envelope: {error}")
            else:
                found += [f"{title}envelope names {{{name}}}: only {{{IDEMPOTENCY_KEY}}} belongs to a whole batch" for name in others]
        if self.row_errors and "batch" not in (self.per, self.removal_per):
            found.append("row_errors is for batches: set per: batch")
        if self.remove and self.removal_per == "row" and self.remove.template is None and f"{{{KEY}}}" not in self.remove.url:
            found.append("remove.url holds no {key}, and there is no remove.template: which record would be removed?")
        if self.remove and self.removal_per == "batch" and self.remove.template is None:
            found.append("remove.template is missing: removals are sent in batches, and a batch is made of it")
        return found


def _placeholders(template: Any, path: str = "") -> Iterator[tuple[str, Placeholder]]:
    """Every placeholder in it, with its path."""
    if isinstance(template, Mapping):
        for name, value in template.items():
            yield from _placeholders(value, f"{path}.{name}" if path else str(name))
    elif isinstance(template, list | tuple):
        for number, value in enumerate(template):
            yield from _placeholders(value, f"{path}.{number}" if path else str(number))
    elif isinstance(template, str) and (found := placeholder(template)) is not None:
        yield path, found


def _strings(template: Any) -> Iterator[str]:
    if isinstance(template, Mapping):
        for value in template.values():
            yield from _strings(value)
    elif isinstance(template, list | tuple):
        for value in template:
            yield from _strings(value)
    elif isinstance(template, str):
        yield template


def _is_taken(envelope: Any, steps: Sequence[str]) -> bool:
    """Whether something else than objects stands on the way, or anything at its end."""
    for step in steps:
        if not isinstance(envelope, Mapping):
            return True
        if step not in envelope:
            return False
        envelope = envelope[step]
    return True


def _looks_secret(piece: str) -> bool:
    """A beginning that tokens have, or a long piece with letters and digits mixed; a media type or a date is none."""
    if _TOKEN_PREFIX.match(piece):
        return True
    parts = re.split(r"[/.:]", piece)
    return any(len(part) >= _LONG_PIECE and re.search(r"[A-Za-z]", part) and re.search(r"[0-9]", part) for part in parts)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", "", None


def _without_credentials(url: str) -> str:
    """As it goes into names: one spelling, and never a user or a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}{f'?{parts.query}' if parts.query else ''}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
