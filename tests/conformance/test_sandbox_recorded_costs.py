"""The cost formula against every recorded `extensions.cost`; prints how many agree."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from graphql import GraphQLError, OperationDefinitionNode, build_client_schema, parse
from support import shared_path

from commerce_assets.sandbox.cost import CostModel

# How many agreed when the formula was fitted: fewer means that the formula got worse.
REQUESTED_AGREEING = 0.91
ACTUAL_AGREEING = 0.76


def document_of(holder: dict[str, Any], depth: int = 0) -> tuple[str, Any] | None:
    for name in ("query", "document"):
        text = holder.get(name)
        if isinstance(text, str) and "{" in text:
            try:
                parse(text)
            except GraphQLError:
                continue
            return text, holder.get("variables")
    for name in ("request", "call", "mutation", "payload", "body"):
        if isinstance(holder.get(name), dict) and depth < 3:
            found = document_of(holder[name], depth + 1)
            if found:
                return found
    return None


def priced(content: Any, path: str, near: tuple[str, tuple[str, Any]] | None) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(document, variables, response) of every recorded answer with a cost."""
    if isinstance(content, dict):
        found = document_of(content)
        near = (path, found) if found else near
        if (
            (content.get("extensions") or {}).get("cost")
            and ("data" in content or "errors" in content)
            and near
            and path.startswith(near[0])
        ):
            yield near[1][0], near[1][1], content
        for key, value in content.items():
            yield from priced(value, f"{path}/{key}", near)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from priced(value, f"{path}/{index}", near)


def test_costs_agree_with_the_recorded_ones(capsys):
    published = json.loads(gzip.decompress(shared_path("shopify/admin-2026-10.introspection.json.gz").read_bytes()))
    model = CostModel(build_client_schema(published["data"], assume_valid=True))
    counts: Counter[str] = Counter()
    for file in sorted(shared_path("shopify/captures").glob("**/*.json")):
        for text, variables, response in priced(json.loads(file.read_bytes()), "", None):
            document = parse(text)
            operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
            cost = response["extensions"]["cost"]
            counts["all"] += 1
            counts["requested"] += model.requested(document, operation, variables or {}) == cost["requestedQueryCost"]
            counts["actual"] += model.actual(document, operation, variables or {}, response.get("data")) == cost["actualQueryCost"]

    with capsys.disabled():
        print(f"\nof {counts['all']} recorded costs agree: requested {counts['requested']}, actual {counts['actual']}")
    assert counts["all"] > 1000
    assert counts["requested"] / counts["all"] >= REQUESTED_AGREEING
    assert counts["actual"] / counts["all"] >= ACTUAL_AGREEING
