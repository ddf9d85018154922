"""Every GraphQL document of ours is valid against Shopify's published schema; recorded operations and results are understood."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from graphql import FieldNode, GraphQLSchema, build_client_schema, parse, validate
from support import REPOSITORY, shared_path

from commerce_assets.sources.shopify import documents_by_id
from commerce_assets.sources.shopify.bulk import BulkOperation, with_filter
from commerce_assets.sources.shopify.client import document
from commerce_assets.sources.shopify.download import PartWriter
from commerce_assets.sources.shopify.throttle import document_size

DOCUMENTS = sorted((REPOSITORY / "commerce_assets" / "sources" / "shopify" / "queries").glob("*.graphql"))
BULK = [path for path in DOCUMENTS if path.stem.endswith("_bulk")]


@cache
def published_schema(name: str) -> GraphQLSchema:
    with gzip.open(shared_path(f"shopify/{name}")) as file:
        return build_client_schema(json.load(file)["data"], assume_valid=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_document_is_valid_in_the_published_schema(path):
    errors = validate(published_schema("admin-2026-10.introspection.json.gz"), parse(path.read_text()))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("name", documents_by_id.queries())
def test_a_query_made_of_a_bulk_document_is_valid_in_the_published_schema(name):
    errors = validate(published_schema("admin-2026-10.introspection.json.gz"), parse(documents_by_id.queries()[name]))
    assert [error.message for error in errors] == []


def connections(node, depth: int = 0) -> list[int]:
    """The depth of every connection in a document (fields that select `edges`)."""
    found = []
    for field in node.selection_set.selections if node.selection_set else []:
        names = (
            {child.name.value for child in field.selection_set.selections if isinstance(child, FieldNode)} if field.selection_set else set()
        )
        assert "nodes" not in names, "bulk operations refuse `nodes`"
        found += [depth] * ("edges" in names) + connections(field, depth + ("edges" in names))
    return found


@pytest.mark.parametrize("path", BULK, ids=lambda path: path.stem)
def test_the_bulk_document_keeps_shopifys_rules(path):
    depths = connections(parse(path.read_text()).definitions[0])
    assert 1 <= len(depths) <= 5, "at least one connection, at most five"
    assert max(depths) <= 2, "nesting depth at most two"
    assert len(path.read_bytes()) < 65_535
    parents = path.read_text().split("node {")[1:]
    assert parents[0].split()[0] == "id", "the parent selects an unaliased id"


def test_bulk_documents_take_filters_where_they_say_so():
    marked = [path.stem for path in BULK if "__FILTER__" in path.read_text()]
    assert marked == ["customers_bulk", "inventory_bulk", "orders_bulk", "products_bulk"]
    for name in marked:
        parse(with_filter(document(name), "status:'any' \"quoted\" \\ back"))


@pytest.mark.parametrize(
    "name", ["nested_run", "nested_variantRun", "products_runQueryGroupObjectsDefault", "products_runQueryGroupObjectsTrue"]
)
def test_recorded_operations_agree_with_their_recorded_results(name, tmp_path):
    meta = json.loads(shared_path(f"shopify/bulk-jsonl-live/{name}.meta.json").read_text())
    result = Path(shared_path(f"shopify/bulk-jsonl-live/{name}.jsonl")).read_bytes()
    operation = BulkOperation.of(meta.get("terminalOperation", meta))
    assert operation.is_over
    assert operation.created_at is not None
    assert operation.created_at.tzinfo is not None
    assert operation.object_count == result.count(b"\n") + (not result.endswith(b"\n"))
    assert operation.root_object_count == sum(b'"__parentId"' not in line for line in result.splitlines())
    with PartWriter(tmp_path, "part", 100) as writer:
        writer.write(result)
        assert operation.file_size == writer.escaped_bytes()
        assert writer.commit().lines == operation.object_count


def test_recorded_costs_are_at_most_what_we_would_set_aside_for_reads():
    """The size of a document is an upper bound of what Shopify really asked for."""
    above = []
    count = 0
    for path in sorted(shared_path("shopify/captures").rglob("*.json")):
        for query, variables, requested in recorded_reads(json.loads(path.read_text())):
            count += 1
            if requested > document_size(query, variables):
                above.append((requested, document_size(query, variables), path.name))
    print(f"{count - len(above)} of {count} recorded reads cost at most what we set aside; above: {above}")
    assert count > 100
    assert above == []


def recorded_reads(node) -> list[tuple[str, dict, float]]:
    found = []
    if isinstance(node, dict):
        query, response = node.get("query"), node.get("response")
        cost = ((response or {}).get("extensions") or {}).get("cost") if isinstance(response, dict) else None
        if (
            isinstance(query, str)
            and cost
            and "mutation" not in query.split("{")[0]
            and '"userErrors"' not in json.dumps(response)
            and isinstance(node.get("variables") or {}, dict)
        ):
            found.append((query, node.get("variables") or {}, cost["requestedQueryCost"]))
        for value in node.values():
            found += recorded_reads(value)
    elif isinstance(node, list):
        for value in node:
            found += recorded_reads(value)
    return found
