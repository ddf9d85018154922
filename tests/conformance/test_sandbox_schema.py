"""What the sandbox serves agrees with Shopify's published schema; what the platform asks fits both."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    build_client_schema,
    parse,
    print_ast,
    validate,
)
from graphql.utilities import ast_from_value
from support import REPOSITORY, shared_path

from commerce_assets.sandbox import bulk
from commerce_assets.sandbox.mutations import MUTATIONS
from commerce_assets.sandbox.schema import load_schema

SANDBOX = REPOSITORY / "commerce_assets" / "sandbox"
DOCUMENTS = sorted(path for path in (REPOSITORY / "commerce_assets").glob("**/*.graphql") if SANDBOX not in path.parents)


@cache
def published() -> GraphQLSchema:
    content = gzip.decompress(shared_path("shopify/admin-2026-10.introspection.json.gz").read_bytes())
    return build_client_schema(json.loads(content)["data"], assume_valid=True)


def served_types() -> dict[str, object]:
    return {name: kind for name, kind in load_schema().type_map.items() if not name.startswith("__")}


def shown_default(argument: object) -> str | None:
    value = argument.default_value  # type: ignore[attr-defined]
    return None if value is Undefined else print_ast(ast_from_value(value, argument.type))  # type: ignore[attr-defined, arg-type]


def disagreements_of_fields(name: str, ours: object, theirs: object) -> list[str]:
    found = []
    for field_name, field in ours.fields.items():  # type: ignore[attr-defined]
        at = f"{name}.{field_name}"
        other = theirs.fields.get(field_name)  # type: ignore[attr-defined]
        if other is None:
            found.append(f"{at} is not published")
            continue
        if str(field.type) != str(other.type):
            found.append(f"{at}: {field.type}, published {other.type}")
        if (field.deprecation_reason is None) != (other.deprecation_reason is None):
            found.append(f"{at}: deprecated here or there only")
        for argument_name, argument in getattr(field, "args", {}).items():
            published_argument = other.args.get(argument_name)
            if published_argument is None:
                found.append(f"{at}({argument_name}:) is not published")
            elif str(argument.type) != str(published_argument.type):
                found.append(f"{at}({argument_name}:): {argument.type}, published {published_argument.type}")
            elif shown_default(argument) != shown_default(published_argument):
                found.append(f"{at}({argument_name}:): default {shown_default(argument)}, published {shown_default(published_argument)}")
        for argument_name, argument in getattr(other, "args", {}).items():
            if str(argument.type).endswith("!") and argument.default_value is Undefined and argument_name not in field.args:
                found.append(f"{at}({argument_name}:) is required there and missing here")
    return found


def disagreements(name: str) -> list[str]:
    ours, theirs = load_schema().type_map[name], published().type_map.get(name)
    if theirs is None or type(ours) is not type(theirs):
        return [f"{name} is not published as a {type(ours).__name__}"]
    found: list[str] = []
    if isinstance(ours, (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType)):
        found += disagreements_of_fields(name, ours, theirs)
    if isinstance(ours, (GraphQLObjectType, GraphQLInterfaceType)):
        extra = {kind.name for kind in ours.interfaces} - {kind.name for kind in theirs.interfaces}  # type: ignore[union-attr]
        found += [f"{name} does not implement {kind}" for kind in sorted(extra)]
    if isinstance(ours, GraphQLEnumType) and list(ours.values) != list(theirs.values):  # type: ignore[union-attr]
        found.append(f"{name}: values {list(ours.values)}, published {list(theirs.values)}")  # type: ignore[union-attr]
    if isinstance(ours, GraphQLUnionType):
        extra = {kind.name for kind in ours.types} - {kind.name for kind in theirs.types}  # type: ignore[union-attr]
        found += [f"{name} has no member {kind}" for kind in sorted(extra)]
    if isinstance(ours, GraphQLInputObjectType):
        required = [key for key, entry in theirs.fields.items() if str(entry.type).endswith("!") and entry.default_value is Undefined]  # type: ignore[union-attr]
        found += [f"{name}.{key} is required there and missing here" for key in required if key not in ours.fields]
    return found


def test_every_type_field_argument_enum_value_and_nullability_is_as_published():
    names = sorted(set(served_types()) - {"String", "Int", "Float", "Boolean", "ID"})
    found = [line for name in names for line in disagreements(name)]
    assert len(names) > 300
    assert not found, "\n".join(found)


def test_directives_are_as_published():
    ours, theirs = load_schema().get_directive("idempotent"), published().get_directive("idempotent")
    assert ours is not None
    assert theirs is not None
    assert {name: str(argument.type) for name, argument in ours.args.items()} == {
        name: str(argument.type) for name, argument in theirs.args.items()
    }
    assert ours.locations == theirs.locations


def test_a_wrong_schema_would_be_noticed(monkeypatch):
    field = load_schema().type_map["Order"].fields["name"]  # type: ignore[attr-defined]
    monkeypatch.setattr(field, "type", load_schema().type_map["Boolean"])
    assert disagreements("Order") == ["Order.name: Boolean, published String!"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_document_of_the_platform_is_valid_against_both_schemas(path: Path):
    document = parse(path.read_text(encoding="utf-8"))
    problems = [str(error) for schema in (published(), load_schema()) for error in validate(schema, document)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.stem.endswith("_bulk")], ids=lambda path: path.name)
def test_every_bulk_document_of_the_platform_passes_the_bulk_validators(path: Path):
    assert bulk.problems(load_schema(), path.read_text(encoding="utf-8")) == []


def test_every_mutation_of_the_schema_is_served_and_no_other():
    served = {*MUTATIONS, *bulk.MUTATIONS}
    assert served == set(load_schema().mutation_type.fields)  # type: ignore[union-attr]


def test_older_versions_keep_what_their_clients_ask_for():
    assert "permitsSkuSharing" in load_schema("2026-01").type_map["FulfillmentService"].fields  # type: ignore[attr-defined]
    assert "permitsSkuSharing" not in load_schema("2026-10").type_map["FulfillmentService"].fields  # type: ignore[attr-defined]
