"""Every mutation of the sandbox store, by its GraphQL field name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commerce_assets.sandbox.context import Context

MUTATIONS: dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {}
