"""A file of transactions: columns found or told, lines added up, credits netted, every unusable row counted by reason."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from commerce_assets.service.scores.transactions_file import TransactionsFileError, columns_option, read_transactions


def file_of(folder: Path, text: str, name: str = "transactions.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def net(orders: pl.DataFrame) -> list[tuple[int, date, Decimal]]:
    return orders.select("customer_id", "ordered_on", "net_amount").rows()


def test_lines_of_an_order_are_added_up_and_usual_names_are_found(tmp_path: Path) -> None:
    text = "Order ID,Customer,Order Date,Total\nA,ann,2026-01-02,10\nA,ann,2026-01-02,5.5\nB,bob,2026-01-03,7\n"
    found = read_transactions(file_of(tmp_path, text))
    assert net(found.orders) == [(1, date(2026, 1, 2), Decimal("15.5000")), (2, date(2026, 1, 3), Decimal("7.0000"))]
    assert found.customers.rows() == [(1, "ann"), (2, "bob")]
    assert found.columns == {"order": "Order ID", "customer": "Customer", "time": "Order Date", "amount": "Total"}
    assert found.lines is None


def test_quantity_times_price_stands_for_an_amount_and_products_make_lines(tmp_path: Path) -> None:
    text = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID\n1,A,2,01/02/2026 10:30,1.50,9\n1,B,1,01/02/2026 10:30,4,9\n2,A,1,02/02/2026 09:00,1.50,\n"
    found = read_transactions(file_of(tmp_path, text))
    assert net(found.orders) == [(1, date(2026, 2, 1), Decimal("7.0000"))]
    assert found.rejected == {"no_customer": 1}
    assert found.lines is not None
    assert found.lines.select("customer_id", "product_id", "unit_count").rows() == [(1, 1, 2), (1, 2, 1), (None, 1, 1)]


def test_a_credit_is_taken_off_what_was_bought_and_is_no_order(tmp_path: Path) -> None:
    text = "order,customer,date,amount\n1,ann,2026-01-01,30\n2,ann,2026-02-01,10\n3,ann,2026-02-05,-20\n"
    found = read_transactions(file_of(tmp_path, text))
    assert [amount for _, _, amount in net(found.orders)] == [Decimal("15.0000"), Decimal("5.0000")]


def test_who_gave_back_more_than_was_bought_stays_a_customer_of_no_value(tmp_path: Path) -> None:
    text = "order,customer,date,amount\n1,ann,2026-01-01,30\n2,ann,2026-02-05,-50\n3,bob,2026-02-05,-5\n"
    found = read_transactions(file_of(tmp_path, text))
    assert [(customer, amount) for customer, _, amount in net(found.orders)] == [(1, Decimal(0)), (2, Decimal(0))]


def test_rows_that_cannot_be_read_are_counted_by_reason_and_the_others_stay(tmp_path: Path) -> None:
    text = (
        "order,customer,date,amount\n1,ann,2026-01-01,30\n2,ann,yesterday,1\n3,bob,2026-01-01,nan\n4,bob,2026-01-01,many\n5,,2026-01-01,1\n"
    )
    found = read_transactions(file_of(tmp_path, text))
    assert found.rejected == {"no_amount": 2, "no_customer": 1, "no_date": 1}
    assert found.rows == 5
    assert found.orders.height == 1


def test_text_in_columns_with_and_without_a_header(tmp_path: Path) -> None:
    named = read_transactions(file_of(tmp_path, " customer date dollars\n 0001 19970101  11.77\n 0002 19970112 12.00\n", "named.txt"))
    assert net(named.orders) == [(1, date(1997, 1, 1), Decimal("11.7700")), (2, date(1997, 1, 12), Decimal("12.0000"))]
    columns = {"customer": "1", "time": "2", "amount": "3"}
    numbered = read_transactions(file_of(tmp_path, "0001 19970101 11.77\n0002 19970112 12.00\n", "numbered.txt"), columns)
    assert numbered.orders.equals(named.orders)


def test_a_parquet_file_is_read_as_it_is_typed(tmp_path: Path) -> None:
    frame = pl.DataFrame({"client": [7, 7], "when": [date(2026, 1, 1), date(2026, 1, 5)], "spend": [1.5, 2.5]})
    frame.write_parquet(tmp_path / "t.parquet")
    found = read_transactions(tmp_path / "t.parquet", {"customer": "client", "time": "when"})
    assert [amount for _, _, amount in net(found.orders)] == [Decimal("1.5000"), Decimal("2.5000")]


@pytest.mark.parametrize(
    ("text", "columns", "what"),
    [
        ("a,b\n1,2\n", None, "no column for customer, time, amount"),
        ("customer,date\n1,2026-01-01\n", None, "amount (or quantity and unit_price)"),
        ("customer,date,amount\n1,2026-01-01,1\n", {"amount": "Total"}, "no column Total; it has customer, date, amount"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(tmp_path: Path, text: str, columns: dict[str, str] | None, what: str) -> None:
    with pytest.raises(TransactionsFileError) as raised:
        read_transactions(file_of(tmp_path, text), columns)
    assert what in str(raised.value)


def test_a_file_that_is_not_there_or_holds_nothing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TransactionsFileError, match="does not exist"):
        read_transactions(tmp_path / "none.csv")
    nothing = read_transactions(file_of(tmp_path, "customer,date,amount\nann,never,1\n"))
    with pytest.raises(TransactionsFileError, match="no transaction that can be read"):
        _ = nothing.last_on


def test_the_columns_option_is_json_with_known_names() -> None:
    assert columns_option('{"customer": "Client"}') == {"customer": "Client"}
    assert columns_option(None) is None
    for bad, what in (("{", "no JSON"), ("[1]", "JSON object"), ('{"buyer": "x"}', "names buyer")):
        with pytest.raises(TransactionsFileError, match=what):
            columns_option(bad)
