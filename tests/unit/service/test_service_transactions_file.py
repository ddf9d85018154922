"""A file of transactions: columns found or told, lines added up, credits netted, every unusable row counted by reason."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from commerce_assets.service.scores.report import frames_of
from commerce_assets.service.scores.transactions_file import TransactionsFileError, columns_option, currency_option, read_transactions

TODAY = date(2026, 11, 28)
HEADER = "order,customer,date,amount\n"


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
    with pytest.raises(TransactionsFileError, match="is no file"):
        read_transactions(tmp_path)
    for name in ("empty.csv", "empty.parquet", "empty.txt"):
        with pytest.raises(TransactionsFileError, match="is empty"):
            read_transactions(file_of(tmp_path, "", name))
    nothing = read_transactions(file_of(tmp_path, 'customer,date,amount\nann,never,1\nbob,2026-01-01,"1,5"\n'))
    with pytest.raises(TransactionsFileError) as raised:
        nothing.day(None, TODAY)
    assert "1 rows with no_date, such as 'never' (days are written 2026-01-31" in str(raised.value)
    assert "1 rows with no_amount, such as '1,5' (numbers are written 1234.56)" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ((HEADER + "1,Jos\xe9,2026-01-01,5\n").encode("latin-1"), "it is not UTF-8 text"),
        (
            (HEADER + "1,ann,2026-01-01,5\n" * 25_000 + "1,ann,2026-01-01,5,6\n").encode(),
            "Line: 25002: Expected Number of Columns: 4 Found: 5",
        ),
        (HEADER.encode() + b"1,ann,2026-01-01,9e12\n" * 20, "add up to 1.8e+14, more than money holds"),
    ],
    ids=["latin-1", "a line of too many parts far down", "more than money holds"],
)
def test_a_file_that_cannot_be_read_to_its_end_is_said_so_in_a_line(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(TransactionsFileError) as raised:
        read_transactions(tmp_path / "t.csv")
    assert what in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "days"),
    [
        (("12/1/2010 8:26", "12/13/2010 8:26"), (date(2010, 12, 1), date(2010, 12, 13))),
        (("12/1/10 8:26", "12/13/10 8:26"), (date(2010, 12, 1), date(2010, 12, 13))),
        (("04/01/25", "13/01/25"), (date(2025, 1, 4), date(2025, 1, 13))),
        (("01/12/2010", "13/12/2010"), (date(2010, 12, 1), date(2010, 12, 13))),
        (("01-12-2010", "13-12-2010 23:59:59"), (date(2010, 12, 1), date(2010, 12, 13))),
        (("01/12/2010", "02/12/2010"), (date(2010, 12, 1), date(2010, 12, 2))),
        (("2026-01-02T23:30:00-05:00", "20260105"), (date(2026, 1, 3), date(2026, 1, 5))),
    ],
)
def test_days_of_a_file_are_all_read_one_way_round_as_utc(tmp_path: Path, written: tuple[str, str], days: tuple[date, date]) -> None:
    found = read_transactions(file_of(tmp_path, HEADER + "".join(f"{n},ann,{day},1\n" for n, day in enumerate(written))))
    assert tuple(found.orders["ordered_on"].sort()) == days


def test_a_day_of_a_file_the_other_way_round_is_rejected_not_turned(tmp_path: Path) -> None:
    days = ("01/02/2026", "28/02/2026", "27/02/2026", "02/27/2026")
    found = read_transactions(file_of(tmp_path, HEADER + "".join(f"{n},ann,{day},1\n" for n, day in enumerate(days))))
    assert found.rejected == {"no_date": 1}
    assert found.examples == {"no_date": "02/27/2026"}


def test_a_day_that_has_not_come_is_not_what_a_file_is_scored_as_of(tmp_path: Path) -> None:
    found = read_transactions(file_of(tmp_path, HEADER + "1,ann,2026-01-01,1\n2,ann,2099-01-01,1\n3,bob,0002-01-01,1\n"))
    assert found.rejected == {"no_date": 1}, "the year 2 is a slip"
    assert found.day(None, TODAY) == date(2026, 1, 1)
    assert found.day(date(2099, 6, 1), TODAY) == date(2099, 6, 1)
    with pytest.raises(TransactionsFileError, match="the first transaction is of 2026-01-01, later than 2000-01-01"):
        found.day(date(2000, 1, 1), TODAY)
    late = read_transactions(file_of(tmp_path, HEADER + "1,ann,2099-01-01,1\n"))
    with pytest.raises(TransactionsFileError, match="later than 2026-11-28: correct the dates, or say --as-of"):
        late.day(None, TODAY)


def test_whole_numbers_that_name_customers_and_products_are_shown_whole_and_no_number_names_nobody(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "customer": [14646.0, 12350.0, float("nan"), None],
            "product": [22423.0, 85048.0, 85048.0, 85048.0],
            "date": [date(2026, 1, 1)] * 4,
            "amount": [1.5] * 4,
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    frame.with_columns(pl.col("customer").fill_nan(None)).write_csv(tmp_path / "t.csv")
    found = read_transactions(tmp_path / "t.parquet")
    assert found.customers["customer"].to_list() == ["12350", "14646"]
    assert found.rejected == {"no_customer": 2}
    assert found.products is not None
    assert found.products["product"].to_list() == ["22423", "85048"]
    assert read_transactions(tmp_path / "t.csv").customers["customer"].to_list() == ["12350", "14646"]
    versions = read_transactions(file_of(tmp_path, "customer,date,amount,product\n1,2026-01-01,1,1.0\n1,2026-01-01,1,1.5\n"))
    assert versions.products is not None
    assert versions.products["product"].to_list() == ["1.0", "1.5"]


@pytest.mark.parametrize(("quantity", "units"), [("0.5", 1), ("2", 2), ("nan", None), ("inf", None), ("1e30", None), ("-1", None)])
def test_a_quantity_of_no_use_makes_no_line_and_part_of_a_unit_is_one(tmp_path: Path, quantity: str, units: int | None) -> None:
    text = f"order,customer,date,amount,quantity,product\n1,ann,2026-01-01,5,{quantity},mug\n"
    found = read_transactions(file_of(tmp_path, text))
    assert found.orders.height == 1
    assert found.lines is not None
    assert found.lines["unit_count"].to_list() == ([] if units is None else [units])
    assert frames_of(found)["variants"].height == (0 if units is None else 1)


def test_amounts_without_a_currency_have_none_unless_it_is_told(tmp_path: Path) -> None:
    bare = file_of(tmp_path, HEADER + "1,ann,2026-01-01,1\n")
    assert read_transactions(bare).orders["currency_code"].to_list() == ["XXX"]
    assert read_transactions(bare, currency=currency_option("eur")).orders["currency_code"].to_list() == ["EUR"]
    partly = file_of(tmp_path, "customer,date,amount,currency\nann,2026-01-01,1,gbp\nann,2026-01-02,1,\n", "partly.csv")
    assert read_transactions(partly, currency="EUR").orders["currency_code"].to_list() == ["GBP", "EUR"]
    assert currency_option(None) == "XXX"
    for bad in ("eu", "euro", "12$", "\u20ac\u20ac\u20ac", ""):
        with pytest.raises(TransactionsFileError, match="no code of ISO 4217"):
            currency_option(bad)


def test_the_columns_option_is_json_with_known_names() -> None:
    assert columns_option('{"customer": "Client"}') == {"customer": "Client"}
    assert columns_option(None) is None
    for bad, what in (("{", "no JSON"), ("[1]", "JSON object"), ('{"buyer": "x"}', "names buyer")):
        with pytest.raises(TransactionsFileError, match=what):
            columns_option(bad)
