"""Everything that can go wrong with a shop, by name. A message says what happened, at which shop and stream, and what to do next; never a token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class ShopifyError(Exception):
    """Root of all errors of this room."""


class ShopifyConfigurationError(ShopifyError):
    """The client was set up in a way that cannot work; nothing was asked of the shop."""


class AuthenticationError(ShopifyError):
    """The shop refused the credentials, or no new token could be had."""


class AccessDeniedError(ShopifyError):
    """The token lacks a scope; `required` is Shopify's own text of what it takes."""

    def __init__(self, message: str, required: str | None = None) -> None:
        super().__init__(message)
        self.required = required


class ShopUnavailableError(ShopifyError):
    """The shop itself is closed, locked, frozen, moved or unknown: trying again does not help."""


class RequestFailedError(ShopifyError):
    """No usable answer within the limits of retrying (network, time-outs, 5xx)."""


class UncertainWriteError(RequestFailedError):
    """A mutation got no answer and is not safe to repeat: it may or may not have been applied."""


class UnexpectedAnswerError(ShopifyError):
    """The shop answered with something that this client does not know."""


class RateLimitedError(ShopifyError):
    """The budget stayed exhausted by others for longer than the client is willing to wait."""


class QueryTooExpensiveError(ShopifyError):
    """One query costs more than the shop ever grants; ask for less at a time."""


class GraphqlError(ShopifyError):
    """Top-level GraphQL errors; `codes` are Shopify's, in order."""

    def __init__(self, message: str, codes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.codes = tuple(codes)


class UserErrorsError(ShopifyError):
    """A mutation answered `userErrors`: the input is wrong; repeating it does not help."""

    def __init__(self, message: str, codes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.codes = tuple(codes)


class SearchWarningError(ShopifyError):
    """The shop ignored a part of a search, so that its answer holds rows nobody asked for."""


class ApiVersionError(ShopifyError):
    """The shop answered with another API version than the one asked for."""


class ApiVersionWarning(UserWarning):
    """The shop answered with another API version, and the policy allows to go on."""


class ShopifyInterruptedError(ShopifyError):
    """The client was told to stop while it waited."""


class BulkError(ShopifyError):
    """Root of what goes wrong with bulk operations."""


class BulkRejectedError(BulkError):
    """The shop refused to start the operation; `codes` are its userErrors' codes."""

    def __init__(self, message: str, codes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.codes = tuple(codes)


class BulkSlotError(BulkError):
    """Other operations of this app held every slot for too long."""


class BulkFailedError(BulkError):
    """The operation failed. `partial_files` were kept aside for inspection and are never data."""

    def __init__(self, message: str, error_code: str | None = None, partial_files: Sequence[Path] = ()) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.partial_files = tuple(partial_files)


class BulkCanceledError(BulkFailedError):
    """Somebody cancelled the operation."""


class BulkExpiredError(BulkFailedError):
    """The operation or its result expired before it could be read."""


class BulkTimeoutError(BulkError):
    """The operation did not end within the time allowed, and was cancelled."""


class BulkResultError(BulkError):
    """The result contradicts what the operation said about it."""


class DownloadError(BulkError):
    """A result file could not be downloaded."""


class ExpiredUrlError(DownloadError):
    """The address of a result is no longer accepted, nor is a fresh one."""


class TruncatedDownloadError(DownloadError):
    """Fewer (or more) bytes arrived than the shop says the file has."""


LASTING = (
    ShopifyConfigurationError,
    AuthenticationError,
    AccessDeniedError,
    ShopUnavailableError,
    QueryTooExpensiveError,
    GraphqlError,
    UserErrorsError,
    SearchWarningError,
    ApiVersionError,
    BulkRejectedError,
)
"""What a person has to put right: the same work done again would fail in the same way."""
