"""A shop in memory that answers the documents activation sends, with faults on demand. Counts every write of every value."""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class LostAnswerError(Exception):
    """The connection was cut: the caller does not learn whether the shop did it."""


@dataclass
class FakeCustomer:
    tags: list[str] = field(default_factory=list)
    metafields: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeBulkLine:
    line: int
    data: dict[str, Any] | None
    errors: tuple[dict[str, Any], ...] = ()


Fault = Callable[[str, Mapping[str, Any]], str | None]
"""(operation, variables) -> None, "before" (nothing done, answer lost) or "after" (done, answer lost)."""


class FakeShop:
    """Customers by gid. `refuse` names values that metafieldsSet refuses; `fault` cuts connections."""

    def __init__(self, gids: Iterable[str] = ()) -> None:
        self.customers = {gid: FakeCustomer() for gid in gids}
        self.definitions: dict[str, str] = {}
        self.refuse: Callable[[str, str, str], str | None] = lambda owner, path, value: None
        self.fault: Fault = lambda operation, variables: None
        self.bulk_refuses: set[str] = set()
        self.running_bulk = 0
        self.calls: Counter[str] = Counter()
        self.writes: Counter[tuple[str, str]] = Counter()
        self.largest_batch = 0
        self.scopes = ["read_all_orders", "write_customers", "write_orders", "write_products"]
        self.before_writing: Callable[[str], None] = lambda operation: None
        """Called before each mutation takes effect: somebody else may write in between."""
        self._lock = threading.Lock()

    def execute(self, text: str, variables: Mapping[str, Any] | None = None, *, idempotent: bool = False) -> dict[str, Any]:
        found = re.match(r"(query|mutation) (\w+)", text)
        assert found, text
        kind, name = found.groups()
        assert kind == "query" or idempotent, f"{name} may be repeated, and should say so"
        operation = name[0].lower() + name[1:]
        with self._lock:
            self.calls[operation] += 1
            fault = self.fault(operation, variables or {})
            if fault == "before":
                raise LostAnswerError(f"{operation} lost")
            if kind == "mutation":
                self.before_writing(operation)
            data = getattr(self, f"_{operation}")(**(variables or {}))
            if fault == "after":
                raise LostAnswerError(f"{operation} lost")
            return data

    def run_bulk(self, mutation: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[FakeBulkLine]:
        root = re.findall(r"\b(metafieldsSet|tagsAdd|tagsRemove)\(", mutation)[-1]
        if root in self.bulk_refuses:
            raise RuntimeError("BulkRejectedError: You must use an allowed mutation name.")
        self.calls[f"bulk {root}"] += 1
        # Results come in no order.
        for line, row in reversed(list(enumerate(rows))):
            fault = self.fault(f"bulk {root}", row)
            if fault == "stop":
                raise LostAnswerError("the bulk operation failed")
            with self._lock:
                data = getattr(self, f"_{root}")(**row)
            if fault != "after":
                yield FakeBulkLine(line, data)

    def state(self) -> dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]:
        """All that the shop holds, for comparing."""
        return {
            gid: (tuple(sorted(customer.tags)), tuple(sorted((path, value) for path, (_, value) in customer.metafields.items())))
            for gid, customer in self.customers.items()
        }

    @property
    def mutations(self) -> int:
        reads = {"customersById", "productsById", "ordersById", "metafieldDefinitions", "bulkMutations", "accessScopes"}
        return sum(count for operation, count in self.calls.items() if operation not in reads)

    def _metafieldsSet(self, metafields: list[dict[str, str]]) -> dict[str, Any]:
        assert len(metafields) <= 25
        self.largest_batch = max(self.largest_batch, len(metafields))
        errors = []
        for index, one in enumerate(metafields):
            path = f"{one['namespace']}.{one['key']}"
            if one["ownerId"] not in self.customers:
                at = {"field": ["metafields", str(index), "ownerId"], "elementIndex": None}
                errors.append({**at, "message": "Owner does not exist.", "code": "INVALID_VALUE"})
            elif (message := self.refuse(one["ownerId"], path, one["value"])) is not None:
                at = {"field": ["metafields", str(index), "value"], "elementIndex": index}
                errors.append(
                    {**at, "message": message, "code": "INVALID_VALUE"} if message != "anonymous" else {"field": None, "message": message}
                )
            elif (code := self._digest_problem(one, path)) is not None:
                errors.append({"field": ["metafields", str(index)], "elementIndex": None, "message": "not as it was", "code": code})
        if errors:
            return {"metafieldsSet": {"metafields": [], "userErrors": errors}}
        for one in metafields:
            path = f"{one['namespace']}.{one['key']}"
            self.customers[one["ownerId"]].metafields[path] = (one["type"], one["value"])
            self.writes[one["ownerId"], path] += 1
        return {"metafieldsSet": {"metafields": [{"id": "gid://shopify/Metafield/1"} for _ in metafields], "userErrors": []}}

    def _digest_problem(self, one: Mapping[str, Any], path: str) -> str | None:
        """As recorded: null stands for none there; a write that changes nothing passes with any digest but null."""
        if "compareDigest" not in one:
            return None
        held, seen = self.customers[one["ownerId"]].metafields.get(path), one["compareDigest"]
        if held is None:
            return None if seen is None else "INVALID_COMPARE_DIGEST"
        if seen == _digest(*held) or (seen is not None and held == (one["type"], one["value"])):
            return None
        return "STALE_OBJECT"

    def _metafieldsDelete(self, metafields: list[dict[str, str]]) -> dict[str, Any]:
        for one in metafields:
            if one["ownerId"] in self.customers:
                self.customers[one["ownerId"]].metafields.pop(f"{one['namespace']}.{one['key']}", None)
        return {"metafieldsDelete": {"deletedMetafields": metafields, "userErrors": []}}

    def _tagsAdd(self, id: str, tags: list[str]) -> dict[str, Any]:
        if (customer := self.customers.get(id)) is None:
            return {"tagsAdd": {"node": None, "userErrors": [{"field": ["id"], "message": "Customer does not exist"}]}}
        for tag in tags:
            if tag.casefold() not in {held.casefold() for held in customer.tags}:
                customer.tags.append(tag)
                self.writes[id, tag] += 1
        return {"tagsAdd": {"node": {"id": id}, "userErrors": []}}

    def _tagsRemove(self, id: str, tags: list[str]) -> dict[str, Any]:
        if (customer := self.customers.get(id)) is None:
            return {"tagsRemove": {"node": None, "userErrors": [{"field": ["id"], "message": "Customer does not exist"}]}}
        unwanted = {tag.casefold() for tag in tags}
        if "/Order/" in id:
            customer.tags = [tag for tag in customer.tags if tag not in tags]
        else:
            customer.tags = [tag for tag in customer.tags if tag.casefold() not in unwanted]
        return {"tagsRemove": {"node": {"id": id, "tags": list(customer.tags)}, "userErrors": []}}

    def _accessScopes(self) -> dict[str, Any]:
        return {"currentAppInstallation": {"accessScopes": [{"handle": handle} for handle in self.scopes]}}

    def _metafieldDefinitions(self, ownerType: str, namespace: str, after: str | None) -> dict[str, Any]:
        nodes = [{"key": key, "type": {"name": name}} for key, name in self.definitions.items()]
        return {"metafieldDefinitions": {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}}

    def _metafieldDefinitionCreate(self, definition: dict[str, Any]) -> dict[str, Any]:
        key = definition["key"]
        if key in self.definitions:
            error = {"field": ["definition", "key"], "message": "Key is in use", "code": "TAKEN"}
            return {"metafieldDefinitionCreate": {"createdDefinition": None, "userErrors": [error]}}
        self.definitions[key] = definition["type"]
        return {"metafieldDefinitionCreate": {"createdDefinition": {"id": "gid://shopify/MetafieldDefinition/1"}, "userErrors": []}}

    def _customersById(self, ids: list[str], first: int, keys: list[str]) -> dict[str, Any]:
        nodes: list[dict[str, Any] | None] = []
        for gid in ids:
            customer = self.customers.get(gid)
            if customer is None:
                nodes.append(None)
                continue
            held = [path for path in keys if path in customer.metafields][:first]
            metafields = [
                {
                    "namespace": path.split(".")[0],
                    "key": path.split(".")[1],
                    "value": _as_answered(*customer.metafields[path]),
                    "compareDigest": _digest(*customer.metafields[path]),
                }
                for path in held
            ]
            nodes.append({"id": gid, "tags": list(customer.tags), "metafields": {"nodes": metafields}})
        return {"nodes": nodes}

    def _productsById(self, ids: list[str], first: int, keys: list[str]) -> dict[str, Any]:
        return self._customersById(ids, first, keys)

    def _ordersById(self, ids: list[str], first: int, keys: list[str]) -> dict[str, Any]:
        return self._customersById(ids, first, keys)

    def _bulkMutations(self) -> dict[str, Any]:
        status = "RUNNING" if self.running_bulk else "COMPLETED"
        self.running_bulk = max(0, self.running_bulk - 1)
        return {"bulkOperations": {"nodes": [{"id": "gid://shopify/BulkOperation/1", "type": "MUTATION", "status": status}]}}


def _digest(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}\n{value}".encode()).hexdigest()


def _as_answered(kind: str, value: str) -> str:
    """A number comes back in another form than it was sent in, as the real shop may do."""
    return f"{value}.0" if kind == "number_decimal" and "." not in value else value
