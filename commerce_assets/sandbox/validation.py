"""Is a document valid, and are its variables: with the errors in the words and shapes of the real store.

The checks that recorded answers show (undefined fields and directives, arguments that are unknown, missing or of a wrong
value, variables that are unused or wrong) are our own; everything else is graphql-core's, its errors passed on as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    Node,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_required_argument,
    is_required_input_field,
    print_ast,
    specified_rules,
    type_from_ast,
    validate,
    value_from_ast_untyped,
)
from graphql.language import BooleanValueNode, EnumValueNode, FloatValueNode, IntValueNode, StringValueNode
from graphql.validation import (
    FieldsOnCorrectTypeRule,
    KnownArgumentNamesRule,
    KnownDirectivesRule,
    NoUnusedVariablesRule,
    ProvidedRequiredArgumentsRule,
    ScalarLeafsRule,
    ValuesOfCorrectTypeRule,
)

ErrorDoc = dict[str, Any]
INPUT_ARRAY_LIMIT = 250
GLOBAL_ID = re.compile(r"gid://[\w-]+/\w+/.+")
_OWN = {
    FieldsOnCorrectTypeRule,
    KnownArgumentNamesRule,
    KnownDirectivesRule,
    NoUnusedVariablesRule,
    ProvidedRequiredArgumentsRule,
    ScalarLeafsRule,
    ValuesOfCorrectTypeRule,
}
_REST = tuple(rule for rule in specified_rules if rule not in _OWN)


def location(node: Node | None) -> list[dict[str, int]]:
    """Line and column of a node, as errors print them."""
    if node is None or node.loc is None:
        return []
    at = node.loc.source.get_location(node.loc.start)
    return [{"line": at.line, "column": at.column}]


def error(message: str, node: Node | None, path: Sequence[Any] | None = None, **extensions: Any) -> ErrorDoc:
    """One entry of `errors`."""
    doc: ErrorDoc = {"message": message, "locations": location(node)}
    if path is not None:
        doc["path"] = list(path)
    doc["extensions"] = extensions
    return doc


def syntax_error(problem: GraphQLError) -> ErrorDoc:
    """The answer to a document that does not parse."""
    at = [{"line": found.line, "column": found.column} for found in problem.locations or ()]
    where = f" at [{at[0]['line']}, {at[0]['column']}]" if at else ""
    text = problem.message.removeprefix("Syntax Error: ").rstrip(".")
    if "<EOF>" in text:
        return {"message": f"syntax error, unexpected end of file{where}", "locations": at}
    return {"message": f"syntax error, {text[:1].lower()}{text[1:]}{where}", "locations": at}


def validate_document(schema: GraphQLSchema, document: DocumentNode) -> list[ErrorDoc]:
    """Everything that is wrong with a parsed document; empty where nothing is."""
    found = _Check(schema, document).run()
    if found:
        return found
    return [
        {
            "message": problem.message,
            "locations": [{"line": at.line, "column": at.column} for at in problem.locations or ()],
            "extensions": {"code": "graphqlErrors"},
        }
        for problem in validate(schema, document, _REST)
    ]


class _Check:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self.schema = schema
        self.document = document
        self.fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        self.errors: list[ErrorDoc] = []
        self.used: set[str] = set()
        self.spread: set[str] = set()

    def run(self) -> list[ErrorDoc]:
        for definition in self.document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                self.operation(definition)
            elif isinstance(definition, FragmentDefinitionNode):
                self.fragment(definition)
        return self.errors

    def operation(self, node: OperationDefinitionNode) -> None:
        kind = node.operation.value
        title = f"{kind} {node.name.value}" if node.name else kind
        root = self.schema.get_root_type(node.operation)
        self.used, self.spread = set(), set()
        if root is None:
            self.errors.append(error(f"Schema is not configured for {kind}s", node, [title], code="missingSchema"))
            return
        self.directives(node.directives, [title])
        self.selections(node.selection_set, root, [title])
        seen: set[str] = set()
        while self.spread - seen:
            for name in sorted(self.spread - seen):
                seen.add(name)
                if name in self.fragments:
                    self.used |= _variables_in(self.fragments[name].selection_set)
                    self.spread |= _spreads_in(self.fragments[name].selection_set)
        for variable in node.variable_definitions or ():
            name = variable.variable.name.value
            if name not in self.used:
                declared_by = node.name.value if node.name else f"anonymous {kind}"
                message = f"Variable ${name} is declared by {declared_by} but not used"
                self.errors.append(error(message, node, [title], code="variableNotUsed", variableName=name))

    def fragment(self, node: FragmentDefinitionNode) -> None:
        kind = self.schema.type_map.get(node.type_condition.name.value)
        title = f"fragment {node.name.value}"
        if kind is None:
            message = f"No such type {node.type_condition.name.value}, so it can't be a fragment condition"
            self.errors.append(error(message, node, [title], code="undefinedType", typeName=node.type_condition.name.value))
            return
        self.selections(node.selection_set, kind, [title])

    def selections(self, selections: SelectionSetNode, parent: Any, path: list[Any]) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                self.field(node, parent, path)
            elif isinstance(node, FragmentSpreadNode):
                self.spread.add(node.name.value)
                self.directives(node.directives, path)
            elif isinstance(node, InlineFragmentNode):
                self.directives(node.directives, path)
                narrowed, step = parent, "..."
                if node.type_condition is not None:
                    name = node.type_condition.name.value
                    step = f"... on {name}"
                    narrowed = self.schema.type_map.get(name)
                    if narrowed is None:
                        message = f"No such type {name}, so it can't be a fragment condition"
                        self.errors.append(error(message, node, [*path, step], code="undefinedType", typeName=name))
                        continue
                self.selections(node.selection_set, narrowed, [*path, step])

    def field(self, node: FieldNode, parent: Any, path: list[Any]) -> None:
        name = node.name.value
        here = [*path, node.alias.value if node.alias else name]
        self.directives(node.directives, here)
        if name == "__typename" or (name in ("__schema", "__type") and parent is self.schema.query_type):
            for argument in node.arguments:
                self.used |= _variables_in(argument)
            return
        definition = parent.fields.get(name) if hasattr(parent, "fields") else None
        if definition is None:
            message = f"Field '{name}' doesn't exist on type '{parent.name}'"
            self.errors.append(error(message, node, here, code="undefinedField", typeName=parent.name, fieldName=name))
            return
        self.arguments(node, node.arguments, definition.args, here, "Field", name)
        kind = get_named_type(definition.type)
        if is_composite_type(kind):
            if node.selection_set is None:
                message = f"Field must have selections (field '{name}' returns {kind.name} but has no selections. Did you mean '{name} {{ ... }}'?)"
                self.errors.append(error(message, node, here, code="selectionMismatch", nodeName=f"field '{name}'", typeName=kind.name))
            else:
                self.selections(node.selection_set, kind, here)
        elif node.selection_set is not None:
            inner = ", ".join(_names(node.selection_set))
            message = f"Selections can't be made on scalars (field '{name}' returns {kind.name} but has selections [{inner}])"
            self.errors.append(error(message, node, here, code="selectionMismatch", nodeName=f"field '{name}'", typeName=kind.name))

    def directives(self, nodes: Sequence[DirectiveNode], path: list[Any]) -> None:
        for node in nodes:
            name = node.name.value
            directive = self.schema.get_directive(name)
            if directive is None:
                message = f"Directive @{name} is not defined"
                self.errors.append(error(message, node, path, code="undefinedDirective", directiveName=name))
                continue
            self.arguments(node, node.arguments, directive.args, path, "Directive", name)

    def arguments(
        self, node: Node, given: Sequence[ArgumentNode], known: Mapping[str, GraphQLArgument], path: list[Any], owner: str, name: str
    ) -> None:
        present = {argument.name.value for argument in given}
        for argument in given:
            key = argument.name.value
            self.used |= _variables_in(argument)
            if key not in known:
                message = f"{owner} '{name}' doesn't accept argument '{key}'"
                self.errors.append(
                    error(message, argument, [*path, key], code="argumentNotAccepted", name=name, typeName=owner, argumentName=key)
                )
                continue
            self.value(argument.value, known[key], [*path, key], owner, name, key, node)
        missing = [key for key, definition in known.items() if is_required_argument(definition) and key not in present]
        if missing:
            listed = ", ".join(missing)
            message = f"{owner} '{name}' is missing required arguments: {listed}"
            self.errors.append(error(message, node, path, code="missingRequiredArguments", className=owner, name=name, arguments=listed))

    def value(
        self,
        value: ValueNode,
        definition: GraphQLArgument | GraphQLInputField,
        path: list[Any],
        owner: str,
        name: str,
        key: str,
        node: Node,
    ) -> None:
        nested = _literal_problem(value, definition.type)
        if nested is False:
            message = f"Argument '{key}' on {owner} '{name}' has an invalid value ({print_ast(value)}). Expected type '{definition.type}'."
            self.errors.append(error(message, node, path, code="argumentLiteralsIncompatible", typeName=owner, argumentName=key))
            return
        if isinstance(value, StringValueNode) and get_named_type(definition.type).name == "ID" and not GLOBAL_ID.fullmatch(value.value):
            message = f"Invalid global id '{value.value}'"
            self.errors.append(error(message, node, path, code="argumentLiteralsIncompatible", typeName="CoercionError"))
            return
        self.inside(value, definition.type, path)

    def inside(self, value: ValueNode, expected: Any, path: list[Any]) -> None:
        kind = expected.of_type if isinstance(expected, GraphQLNonNull) else expected
        if isinstance(kind, GraphQLList):
            for index, item in enumerate(value.values if isinstance(value, ListValueNode) else [value]):
                self.inside(item, kind.of_type, [*path, index] if isinstance(value, ListValueNode) else path)
            return
        if not isinstance(kind, GraphQLInputObjectType) or not isinstance(value, ObjectValueNode):
            return
        present = set()
        for entry in value.fields:
            key = entry.name.value
            present.add(key)
            if key not in kind.fields:
                message = f"InputObject '{kind.name}' doesn't accept argument '{key}'"
                self.errors.append(
                    error(
                        message, entry, [*path, key], code="argumentNotAccepted", name=kind.name, typeName="InputObject", argumentName=key
                    )
                )
                continue
            self.value(entry.value, kind.fields[key], [*path, key], "InputObject", kind.name, key, value)
        for key, definition in kind.fields.items():
            if is_required_input_field(definition) and key not in present:
                message = f"Argument '{key}' on InputObject '{kind.name}' is required. Expected type {definition.type}"
                self.errors.append(
                    error(
                        message,
                        value,
                        [*path, key],
                        code="missingRequiredInputObjectAttribute",
                        argumentName=key,
                        argumentType=str(definition.type),
                        inputObjectType=kind.name,
                    )
                )


def _literal_problem(value: ValueNode, expected: Any) -> bool:
    """False where the literal itself is of a wrong kind (what is inside objects is judged for itself)."""
    if isinstance(value, VariableNode):
        return True
    if isinstance(expected, GraphQLNonNull):
        return not isinstance(value, NullValueNode) and _literal_problem(value, expected.of_type)
    if isinstance(value, NullValueNode):
        return True
    if isinstance(expected, GraphQLList):
        items = value.values if isinstance(value, ListValueNode) else [value]
        return all(_literal_problem(item, expected.of_type) for item in items)
    if isinstance(expected, GraphQLInputObjectType):
        return isinstance(value, ObjectValueNode)
    if isinstance(expected, GraphQLEnumType):
        return isinstance(value, EnumValueNode) and value.value in expected.values
    if isinstance(expected, GraphQLScalarType):
        return _scalar_literal(value, expected.name)
    return True


def _scalar_literal(value: ValueNode, name: str) -> bool:
    if name == "JSON":
        return True
    if isinstance(value, (ObjectValueNode, ListValueNode, EnumValueNode)):
        return False
    if name == "Boolean":
        return isinstance(value, BooleanValueNode)
    if name == "Int":
        return isinstance(value, IntValueNode) and -(2**31) <= int(value.value) < 2**31
    if name == "Float":
        return isinstance(value, (IntValueNode, FloatValueNode))
    if name == "ID":
        return isinstance(value, (StringValueNode, IntValueNode))
    if name == "String":
        return isinstance(value, StringValueNode)
    return not isinstance(value, BooleanValueNode)


def _names(selections: SelectionSetNode) -> list[str]:
    return [f'"{node.name.value}"' for node in selections.selections if isinstance(node, FieldNode)]


def _variables_in(node: Node) -> set[str]:
    found: set[str] = set()
    stack: list[Any] = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, VariableNode):
            found.add(current.name.value)
        elif isinstance(current, Node):
            stack.extend(getattr(current, key) for key in current.keys if key != "loc")
        elif isinstance(current, (list, tuple)):
            stack.extend(current)
    return found


def _spreads_in(node: Node) -> set[str]:
    found: set[str] = set()
    stack: list[Any] = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, FragmentSpreadNode):
            found.add(current.name.value)
        elif isinstance(current, Node):
            stack.extend(getattr(current, key) for key in current.keys if key != "loc")
        elif isinstance(current, (list, tuple)):
            stack.extend(current)
    return found


# -- variables


def coerce_variables(
    schema: GraphQLSchema, operation: OperationDefinitionNode, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[ErrorDoc]]:
    """The variables with their defaults, and what is wrong with them (code INVALID_VARIABLE)."""
    values: dict[str, Any] = {}
    errors: list[ErrorDoc] = []
    for node in operation.variable_definitions or ():
        name = node.variable.name.value
        expected: Any = type_from_ast(schema, node.type)
        if name not in given and node.default_value is not None:
            values[name] = value_from_ast_untyped(node.default_value)
            continue
        if name not in given and not isinstance(expected, GraphQLNonNull):
            continue
        value = given.get(name)
        problems: list[dict[str, Any]] = []
        coerced = _coerce(value, expected, [], problems)
        if not problems:
            values[name] = coerced
            continue
        message = f"Variable ${name} of type {print_ast(node.type)} was provided invalid value"
        shown = [f"{'.'.join(str(part) for part in problem['path'])} ({problem['explanation']})" for problem in problems if problem["path"]]
        if shown:
            message += " for " + ", ".join(shown)
        doc = error(message, node, None, code="INVALID_VARIABLE", value=value, problems=problems)
        errors.append(doc)
    return values, errors


def _coerce(value: Any, expected: Any, path: list[Any], problems: list[dict[str, Any]]) -> Any:
    def refuse(explanation: str, repeated: bool = False) -> Any:
        problems.append({"path": list(path), "explanation": explanation, **({"message": explanation} if repeated else {})})
        return Undefined

    if isinstance(expected, GraphQLNonNull):
        return refuse("Expected value to not be null") if value is None else _coerce(value, expected.of_type, path, problems)
    if value is None:
        return None
    if isinstance(expected, GraphQLList):
        items = value if isinstance(value, list) else [value]
        return [_coerce(item, expected.of_type, [*path, index], problems) for index, item in enumerate(items)]
    if isinstance(expected, GraphQLInputObjectType):
        return _coerce_object(value, expected, path, problems, refuse)
    if isinstance(expected, GraphQLEnumType):
        if not isinstance(value, str) or value not in expected.values:
            return refuse(f'Expected "{value}" to be one of: {", ".join(expected.values)}')
        return value
    return _coerce_scalar(value, expected.name, refuse)


def _coerce_object(value: Any, expected: GraphQLInputObjectType, path: list[Any], problems: list[dict[str, Any]], refuse: Any) -> Any:
    if not isinstance(value, dict):
        return refuse(f"Could not coerce value {value!r} to {expected.name}")
    coerced: dict[str, Any] = {}
    for key in value:
        if key not in expected.fields:
            problems.append({"path": [*path, key], "explanation": f"Field is not defined on {expected.name}"})
    for key, definition in expected.fields.items():
        if key in value:
            coerced[key] = _coerce(value[key], definition.type, [*path, key], problems)
        elif definition.default_value is not Undefined:
            coerced[key] = definition.default_value
        elif isinstance(definition.type, GraphQLNonNull):
            problems.append({"path": [*path, key], "explanation": "Expected value to not be null"})
    return coerced


def _coerce_scalar(value: Any, name: str, refuse: Any) -> Any:
    fits = {
        "Int": lambda: isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31,
        "Float": lambda: isinstance(value, (int, float)) and not isinstance(value, bool),
        "Boolean": lambda: isinstance(value, bool),
        "String": lambda: isinstance(value, str),
        "ID": lambda: isinstance(value, (str, int)) and not isinstance(value, bool),
        "JSON": lambda: True,
    }.get(name, lambda: isinstance(value, (str, int, float)) and not isinstance(value, bool))
    if name == "ID" and fits() and not GLOBAL_ID.fullmatch(str(value)):
        return refuse(f"Invalid global id '{value}'", repeated=True)
    if not fits():
        return refuse(f"Could not coerce value {_shown(value)} to {name}")
    if name == "ID":
        return str(value)
    return value


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def oversized_input(value: Any, path: list[Any]) -> tuple[int, list[Any]] | None:
    """(length, path) of the first input array longer than allowed."""
    if isinstance(value, list):
        if len(value) > INPUT_ARRAY_LIMIT:
            return len(value), path
        for index, item in enumerate(value):
            found = oversized_input(item, [*path, index])
            if found:
                return found
    elif isinstance(value, dict):
        for key, item in value.items():
            found = oversized_input(item, [*path, key])
            if found:
                return found
    return None
