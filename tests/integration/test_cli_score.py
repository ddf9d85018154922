"""`commerce score` as a user runs it: on the sample that is checked in, and with input that cannot be used."""

import json
from pathlib import Path

import polars as pl
from support import REPOSITORY, commerce

SAMPLE = REPOSITORY / "data" / "sample_transactions.csv"


def test_customers_of_the_sample_are_scored_with_a_receipt(tmp_path: Path) -> None:
    out = tmp_path / "customers.csv"
    done = commerce("score", "customers", "--transactions", str(SAMPLE), "--horizon-days", "180", "--json", "--out", str(out))
    said = json.loads(done.stdout)
    assert said["is_accepted"]
    assert said["receipt"]["settings"]["horizon_days"] == 180
    assert said["receipt"]["fallback"], "four customers are too few to fit, and it says so"
    assert {row["customer"] for row in said["customers"]} == {"20001", "20002", "20003", "20004"}
    assert pl.read_csv(out).height == 4


def test_the_backtest_page_of_the_sample_is_html_that_stands_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    commerce("score", "backtest", "--transactions", str(SAMPLE), "--html", "--out", str(page))
    text = page.read_text()
    assert "Scores against their baselines" in text
    assert "http" not in text.replace("http-equiv", ""), "nothing is fetched from anywhere"


def test_customers_have_the_currency_that_is_told_and_none_otherwise() -> None:
    untold = commerce("score", "customers", "--transactions", str(SAMPLE), "--json")
    assert {row["currency_code"] for row in json.loads(untold.stdout)["customers"]} == {"XXX"}
    done = commerce("score", "customers", "--transactions", str(SAMPLE), "--json", "--currency", "eur")
    assert {row["currency_code"] for row in json.loads(done.stdout)["customers"]} == {"EUR"}
    bad = commerce("score", "customers", "--transactions", str(SAMPLE), "--currency", "euros", check=False)
    assert bad.returncode == 1
    assert bad.stderr == "commerce: --currency is 'euros', no code of ISO 4217; write three letters, such as EUR\n"


def test_an_option_out_of_range_or_a_place_that_is_not_there_is_said_before_anything_is_scored() -> None:
    for options, what in (
        (("--horizon-days", "0"), "--horizon-days"),
        (("--out", "none/x.csv"), "the folder none does not exist"),
        (("--out", "x.xlsx"), "x.xlsx has to end in .csv or"),
    ):
        done = commerce("score", "customers", "--transactions", str(SAMPLE), *options, check=False)
        assert done.returncode == 2
        assert what in " ".join(done.stderr.replace("│", " ").split()), "lines are broken to the width of the terminal"
        assert "Traceback" not in done.stderr


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    done = commerce("score", "customers", "--transactions", str(bad), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("commerce: no column for customer, time, amount")
    assert "Traceback" not in done.stderr


def test_status_before_any_score_says_what_to_do(tmp_path: Path) -> None:
    done = commerce("score", "status", "--json", env={"COMMERCE_DATA_ROOT": str(tmp_path)})
    rows = {row["score"]: row for row in json.loads(done.stdout)}
    assert "materialise it first" in rows["customer_value"]["not_to_be_pushed_because"][0]
