"""The store: documents, nested ones, tags, metafields, inventory; transactions, threads, a killed writer."""

import os
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.sandbox.documents import (
    fulfillment_doc,
    gid,
    inventory_level,
    line_item_doc,
    money,
    order_doc,
    parse_gid,
    price,
    product_doc,
    refund_doc,
    variant_doc,
)
from commerce_assets.sandbox.store import Store, StoreError

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def order(number: int, **more: object) -> dict[str, object]:
    lines = [line_item_doc(number * 10, "Mug", 2, Decimal("4.5"), sku="MUG")]
    return order_doc(number, f"#{number}", AT, currency="GBP", total=Decimal(9), line_items=lines, **more)


def product(number: int, *variants: int) -> dict[str, object]:
    docs = [variant_doc(variant, variant + 100, f"V{variant}", Decimal(5), AT, sku=f"S{variant}") for variant in variants]
    return product_doc(number, "Mug", "mug", AT, variants=docs)


@pytest.mark.parametrize(("given", "shown"), [("12.30", "12.3"), ("12", "12.0"), ("0.00", "0.0"), ("1E+2", "100.0"), ("-3.10", "-3.1")])
def test_money_is_printed_as_the_real_store_prints_it(given: str, shown: str):
    assert money(Decimal(given)) == shown


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=2))
def test_money_and_price_keep_the_amount(amount: Decimal):
    assert Decimal(money(amount)) == amount
    assert Decimal(price(amount)) == amount


@pytest.mark.parametrize("text", ["", "Order/1", "gid://shopify/Order/", "gid://shopify/Order/x", "xgid://shopify/Order/1"])
def test_what_is_no_gid_is_refused(text: str):
    with pytest.raises(ValueError, match="not a gid"):
        parse_gid(text)


def test_ids_are_never_given_out_twice(store: Store):
    first, second = store.next_ids("Order", 3), store.next_ids("Order", 2)
    assert len({*first, *second}) == 5
    assert Store(store.folder).next_id("Order") > max(second)


def test_nested_documents_are_found_through_their_parent(store: Store):
    refunds = [refund_doc(7, AT, Decimal(1))]
    shipments = [fulfillment_doc(8, "#1.1", AT, location=None, lines=[(1, 10, 2)])]
    store.insert_many("Order", [order(1, refunds=refunds, fulfillments=shipments)])
    assert (store.get("Refund", 7) or {})["id"] == gid("Refund", 7)
    assert (store.parent_of("Fulfillment", 8) or {})["id"] == gid("Order", 1)
    assert store.get("LineItem", 999) is None


def test_replacing_a_document_replaces_what_is_nested_and_tagged(store: Store):
    store.put("Product", product(1, 1, 2) | {"tags": ["Old"]})
    store.put("Product", product(1, 2) | {"tags": ["New"]})
    assert store.get("ProductVariant", 1) is None
    assert set(store.deletions("ProductVariant")) == {1}
    assert store.count("Product", "t.id IN (SELECT id FROM tags WHERE folded = 'old')") == 0
    assert store.tags("Product", 1) == ["New"]


def test_a_deleted_document_takes_along_what_hangs_on_it_and_is_logged(store: Store):
    store.put("Product", product(1, 1))
    store.insert_levels([inventory_level(101, 5, AT, available=1)])
    store.set_metafield(gid("Product", 1), "custom", "k", "number_integer", "1", AT)
    assert store.delete("Product", 1, "2026-02-01T00:00:00Z")
    assert not store.delete("Product", 1, "2026-02-01T00:00:00Z")
    assert store.deletions("Product") == {1: "2026-02-01T00:00:00Z"}
    assert store.level(101, 5) is None
    assert store.metafields(gid("Product", 1)) == []


def test_insert_many_refuses_an_id_that_exists(store: Store):
    store.insert_many("Order", [order(1)])
    with pytest.raises(StoreError, match="new ids only"):
        store.insert_many("Order", [order(2), order(1)])
    assert store.count("Order") == 1


def test_a_metafield_keeps_its_id_and_changes_its_digest(store: Store):
    owner = gid("Customer", 1)
    first = store.set_metafield(owner, "custom", "tier", "single_line_text_field", "gold", AT)
    second = store.set_metafield(owner, "custom", "tier", "single_line_text_field", "silver", "2026-02-01T00:00:00Z")
    assert (first["id"], first["createdAt"]) == (second["id"], second["createdAt"])
    assert first["compareDigest"] != second["compareDigest"]
    assert store.delete_metafield(owner, "custom", "tier")
    assert store.metafield(owner, "custom", "tier") is None


def test_adjusting_inventory_moves_on_hand_along_and_is_all_or_nothing(store: Store):
    store.insert_levels([inventory_level(1, 1, AT, available=5, on_hand=7, committed=2)])
    store.adjust_inventory([(1, 1, "available", -2), (1, 1, "incoming", 4)], AT)
    assert (store.level(1, 1) or {})["quantities"] == {"available": 3, "on_hand": 5, "committed": 2, "incoming": 4}
    with pytest.raises(StoreError):
        store.adjust_inventory([(1, 1, "available", -1), (2, 1, "available", -1)], AT)
    assert (store.level(1, 1) or {})["quantities"]["available"] == 3


def put_and_fail(store: Store, number: int) -> None:
    with store.transaction():
        store.put("Order", order(number))
        raise RuntimeError


def test_an_exception_rolls_back_and_a_nested_one_only_its_own_part(store: Store):
    with pytest.raises(RuntimeError):
        put_and_fail(store, 1)
    assert store.count("Order") == 0
    with store.transaction():
        store.put("Order", order(1))
        with pytest.raises(RuntimeError):
            put_and_fail(store, 2)
    assert [number for _, number, _ in store.iterate("Order")] == [1]


def test_threads_write_one_after_the_other_and_read_whole_states(store: Store):
    store.insert_levels([inventory_level(1, 1, AT, available=0, on_hand=0)])
    torn: list[object] = []
    done = threading.Event()

    def write() -> None:
        for _ in range(40):
            store.adjust_inventory([(1, 1, "available", 1)], AT)

    def read() -> None:
        while not done.is_set():
            quantities = (store.level(1, 1) or {})["quantities"]
            if quantities["available"] != quantities["on_hand"]:
                torn.append(quantities)

    writers = [threading.Thread(target=write) for _ in range(4)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not torn
    assert (store.level(1, 1) or {})["quantities"]["available"] == 160


def test_a_writer_that_is_killed_leaves_the_last_committed_state(tmp_path: Path):
    script = (
        "import sys, time; from commerce_assets.sandbox.store import Store; store = Store(sys.argv[1]); store.set_setting('a', 1)\n"
        "with store.transaction():\n    store.set_setting('a', 2); print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert Store(tmp_path).setting("a") == 1


def test_a_long_read_sees_one_state_while_others_write(store: Store):
    store.insert_many("Order", [order(number) for number in range(1, 4)])
    reading = Store(store.folder)
    reading.connection.execute("BEGIN")
    assert reading.count("Order") == 3
    store.put("Order", order(9))
    time.sleep(0)
    assert (reading.count("Order"), store.count("Order")) == (3, 4)
