"""What changed since a moment is told oldest first and to the second, whole to the last page."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from inprocess_shop import InProcessShop
from shopify_fakes import answer, client_of

from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sources.shopify.changes import changed_since
from commerce_assets.sources.shopify.documents_by_id import fetch_documents
from commerce_assets.sources.shopify.errors import ShopifyConfigurationError, UnexpectedAnswerError

AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> InProcessShop:
    folder = tmp_path_factory.mktemp("shop") / "store"
    fill(folder, scale=0.01, seed=7, as_of=AS_OF)
    return InProcessShop(Store(folder))


@pytest.mark.parametrize("object_type", ["Order", "Customer", "Product"])
def test_changes_are_told_oldest_first_from_the_moment_on(shop: InProcessShop, object_type: str) -> None:
    versions = sorted(
        (datetime.fromisoformat(doc["updatedAt"]), int(doc["id"].rsplit("/", 1)[1])) for _, _, doc in shop.store.iterate(object_type)
    )
    middle = versions[len(versions) // 2][0]
    expected = [(number, at) for at, number in versions if at >= middle]
    with shop.client() as client:
        assert changed_since(client, object_type, middle, 10_000) == expected
        # A moment within the second: the shop's clock knows only seconds.
        assert changed_since(client, object_type, middle + timedelta(microseconds=999_999), 10_000) == expected
        assert changed_since(client, object_type, versions[0][0], 3) == [(number, at) for at, number in versions[:3]]
        assert changed_since(client, object_type, versions[-1][0] + timedelta(seconds=1), 3) == []


def test_an_item_changes_with_its_levels(shop: InProcessShop, tmp_path: Path) -> None:
    moment = AS_OF + timedelta(days=1)
    item, location = shop.store.connection.execute("SELECT item_id, location_id FROM inventory LIMIT 1").fetchone()
    level = shop.store.level(item, location)
    assert level is not None
    shop.store.put_level({**level, "updatedAt": moment.strftime("%Y-%m-%dT%H:%M:%SZ")})

    with shop.client() as client:
        assert changed_since(client, "InventoryItem", moment - timedelta(minutes=2), 10) == [(item, moment)]
        everything = changed_since(client, "InventoryItem", AS_OF - timedelta(days=9_999), 100_000)
        read = fetch_documents(client, "InventoryItem", [number for number, _ in everything], tmp_path)

    assert dict(everything) == read.versions
    assert [at for _, at in everything] == sorted(at for _, at in everything)


def test_pages_are_read_until_the_limit_and_no_further() -> None:
    asked: list[dict[str, Any]] = []

    def pages(request: httpx.Request) -> httpx.Response:
        variables = json.loads(request.content)["variables"]
        asked.append(variables)
        start = int(variables["after"] or 0)
        nodes = [
            {"id": f"gid://shopify/Order/{start + number}", "updatedAt": "2026-11-20T12:00:00Z"} for number in range(variables["first"])
        ]
        info = {"hasNextPage": True, "endCursor": str(start + len(nodes))}
        return answer({"orders": {"edges": [{"node": node} for node in nodes], "pageInfo": info}})

    with client_of(pages) as client:
        found = changed_since(client, "Order", AS_OF, 300)
    assert len(found) == 300
    assert [variables["after"] for variables in asked] == [None, "250"]
    assert asked[0]["filter"] == "updated_at:>='2026-11-20T12:00:00Z'"


def test_pages_that_do_not_go_on_are_an_error() -> None:
    page = {"edges": [], "pageInfo": {"hasNextPage": True, "endCursor": None}}
    with client_of(lambda _: answer({"orders": page})) as client, pytest.raises(UnexpectedAnswerError, match="do not go on"):
        changed_since(client, "Order", AS_OF, 300)


def test_an_unknown_type_is_refused() -> None:
    with client_of(lambda _: answer({})) as client, pytest.raises(ShopifyConfigurationError, match="Order, Customer"):
        changed_since(client, "Cart", AS_OF, 300)
