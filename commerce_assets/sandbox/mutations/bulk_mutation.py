"""`bulkOperationRunMutation`: one mutation run for every line of an uploaded file of variables.

Threads, files and URLs are the bulk runner's (`sandbox/bulk.py`); here are the checks and the rows. As in the real store,
the rows' results are not in the order of the input: `__lineNumber` says which line each belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Lexer,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Source,
    TokenKind,
    parse,
)

from commerce_assets.sandbox.bulk import Cancelled, Interrupted, Runner, Tally, new_operation
from commerce_assets.sandbox.context import Context, report
from commerce_assets.sandbox.documents import gid_number
from commerce_assets.sandbox.mutations._shared import Rejected, mutation, user_error
from commerce_assets.sandbox.mutations.staged_uploads import staged_file

TEXT_BYTES = 65_535
IDENTIFIER_LENGTH = (10, 255)
MAX_CONNECTIONS = 1
NO_SUCH_FILE = (
    "The JSONL file could not be found. Try uploading the file again, and check that you've entered the URL correctly "
    "for the stagedUploadPath mutation argument."
)
# Rows are worked on in blocks, each from its last line to its first, so that nobody relies on the order of results.
BLOCK = 10
PROGRESS_EVERY = 100
# Roots that a bulk mutation may not have; what the sandbox does not serve fails row by row instead.
FORBIDDEN = frozenset({"bulkOperationRunQuery", "bulkOperationRunMutation", "bulkOperationCancel", "stagedUploadsCreate"})


def bulk_operation_run_mutation(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Check mutation and upload, create the operation, and start it."""
    payload = _create(ctx, args)
    operation = payload.get("bulkOperation")
    if operation:
        runner: Runner = ctx.bulk
        number = gid_number(operation["id"])
        upload = staged_file(ctx.store.folder, args["stagedUploadPath"])
        runner.start(number, lambda: run_rows(runner, number, ctx, args["mutation"], upload))
    return payload


@mutation
def _create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    text = args["mutation"]
    _check_text(text)
    _check_identifier(args.get("clientIdentifier"))
    if staged_file(ctx.store.folder, args["stagedUploadPath"]) is None:
        raise Rejected([user_error(None, NO_SUCH_FILE, "NO_SUCH_FILE")], bulkOperation=None)
    runner: Runner = ctx.bulk
    busy = runner.busy("MUTATION")
    if busy is not None:
        raise Rejected([user_error(None, busy, "OPERATION_IN_PROGRESS")], bulkOperation=None)
    operation = new_operation(ctx, "MUTATION", text)
    ctx.store.put("BulkOperation", operation)
    return {"bulkOperation": operation}


def _refuse(path: list[str] | None, message: str, code: str | None) -> Rejected:
    return Rejected([user_error(path, message, code)], bulkOperation=None)


def _check_text(text: str) -> None:
    size = len(text.encode())
    if size > TEXT_BYTES:
        raise _refuse(["query"], f"is too large ({size} bytes; maximum is {TEXT_BYTES} bytes)", "INVALID_MUTATION")
    try:
        document = parse(text)
    except GraphQLSyntaxError as error:
        raise _refuse(None, f"Failed to parse the mutation - {_syntax_problem(text, error)}", "INVALID_MUTATION") from None
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) != 1 or operations[0].operation is not OperationType.MUTATION:
        message = "Invalid operation type. Only `mutation` operations are supported."
        raise _refuse(None, message, "INVALID_MUTATION")
    roots = list(_fields(operations[0].selection_set, document))
    if len(roots) != 1:
        raise _refuse(["mutation"], "You must specify a single top level mutation.", None)
    if roots[0].name.value in FORBIDDEN:
        raise _refuse(["mutation"], "You must use an allowed mutation name.", None)
    if _connections(roots[0], document) > MAX_CONNECTIONS:
        raise _refuse(["mutation"], f"Bulk mutations cannot contain more than {MAX_CONNECTIONS} connection.", None)


def _check_identifier(identifier: str | None) -> None:
    if identifier is None:
        return
    least, most = IDENTIFIER_LENGTH
    if len(identifier) < least:
        raise _refuse(["clientIdentifier"], f"is too short (minimum is {least} characters)", "INVALID_MUTATION")
    if len(identifier) > most:
        raise _refuse(["clientIdentifier"], f"is too long (maximum is {most} characters)", "INVALID_MUTATION")


def _syntax_problem(text: str, error: GraphQLSyntaxError) -> str:
    """A syntax error as the real store words it; one at the end is placed at the last word before."""
    locations = error.locations or []
    line, column = (locations[0].line, locations[0].column) if locations else (1, 1)
    if "<EOF>" not in error.message:
        found = error.message.removeprefix("Syntax Error: ").partition(", found ")[2].rstrip(".")
        return f"syntax error, unexpected {found or 'character'} at [{line}, {column}]"
    lexer = Lexer(Source(text))
    last = lexer.advance()
    while last.kind != TokenKind.EOF:
        line, column = last.line, last.column
        last = lexer.advance()
    return f"syntax error, unexpected end of file at [{line}, {column}]"


def _fields(selections: SelectionSetNode | None, document: DocumentNode) -> Iterator[FieldNode]:
    """The fields of a selection, fragments included."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for node in selections.selections if selections else ():
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, document)
        elif isinstance(node, FragmentSpreadNode) and node.name.value in fragments:
            yield from _fields(fragments[node.name.value].selection_set, document)


def _connections(field: FieldNode, document: DocumentNode) -> int:
    """How many connections a field has in it: whatever selects `edges` or `nodes` is one."""
    below = list(_fields(field.selection_set, document))
    own = any(inner.name.value in ("edges", "nodes") for inner in below)
    return own + sum(_connections(inner, document) for inner in below)


# -- the rows


def run_rows(runner: Runner, number: int, ctx: Context, text: str, upload: Path | None) -> None:
    """The work of a bulk mutation, from RUNNING to its end: every line is a request of its own."""
    target = runner.path(number)
    working = target.with_suffix(".tmp")
    tally = Tally()
    faults = {fault.kind: fault for fault in runner.faults.strike("bulk", text)}
    ending: dict[str, Any]
    try:
        runner.update(number, status="RUNNING")
        if "bulk_slow" in faults:
            runner.linger(number, float(faults["bulk_slow"].option("seconds", 2)))
        with working.open("wb", buffering=1 << 20) as out:
            for position, line in _lines(upload):
                if runner.is_cancelled(number):
                    raise Cancelled
                if "bulk_failed_partial" in faults and tally.objects >= int(faults["bulk_failed_partial"].option("after_objects", 10)):
                    raise Interrupted
                result = _row(ctx, text, position, line)
                out.write(result)
                tally.objects += 1
                tally.roots += 1
                tally.size += len(result)
                if tally.objects % PROGRESS_EVERY == 0:
                    runner.update(number, objectCount=str(tally.objects), rootObjectCount=str(tally.roots))
        ending = runner.completed(number, working, tally, faults, ctx.base_url)
    except Cancelled:
        ending = {"status": "CANCELED"}
    except Interrupted:
        ending = {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR", **runner.partial(number, working, faults, ctx.base_url)}
    except Exception as error:
        report(error)
        ending = {"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR"}
    finally:
        working.unlink(missing_ok=True)
    runner.update(number, completedAt=ctx.now(), **ending)


def _lines(upload: Path | None) -> Iterator[tuple[int, bytes]]:
    if upload is None:
        return
    block: list[tuple[int, bytes]] = []
    with upload.open("rb") as source:
        for position, line in enumerate(source):
            if line.strip():
                block.append((position, line))
            if len(block) >= BLOCK:
                yield from reversed(block)
                block = []
    yield from reversed(block)


def _row(ctx: Context, text: str, position: int, line: bytes) -> bytes:
    from commerce_assets.sandbox.schema import answer  # the schema knows the mutations, and a row needs the schema

    try:
        variables = orjson.loads(line)
        if not isinstance(variables, dict):
            raise ValueError("not an object")
    except ValueError:
        body: dict[str, Any] = {"errors": [{"message": "Line is not a valid JSON object of variables."}]}
    else:
        answered = answer(replace(ctx, cache={}, warnings=[], idempotency_key=None), text, variables)
        body = {name: answered[name] for name in ("data", "errors") if name in answered}
    return orjson.dumps({**body, "__lineNumber": position}).replace(b"/", b"\\/") + b"\n"
