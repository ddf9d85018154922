"""Customers of a plain transactions file, scored as the shop's are: value, churn and next order beside segment and lifecycle."""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from commerce_assets.config import Settings
from commerce_assets.scoring.receipts import Scored, Verdict, jsonable, judge
from commerce_assets.service.scores.jobs import JOBS
from commerce_assets.service.scores.running import Inputs, Moment
from commerce_assets.service.scores.transactions_file import Transactions, columns_option, currency_option, read_transactions

OF_RFM = ("recency_score", "frequency_score", "monetary_score", "rfm_segment", "lifecycle", "is_vip", "is_high_value_lapsed")


@dataclass(frozen=True)
class ScoredFile:
    """What a file's customers came to."""

    transactions: Transactions
    value: Scored
    verdict: Verdict
    customers: pl.DataFrame
    """One row a customer under the file's own name for it, the highest predicted value first."""

    def as_dict(self, shown: pl.DataFrame) -> dict[str, Any]:
        """What strict JSON can hold, with the customers given."""
        return {
            "rows": self.transactions.rows,
            "rejected": dict(self.transactions.rejected),
            "columns": dict(self.transactions.columns),
            "customer_count": self.customers.height,
            "is_accepted": self.verdict.is_accepted,
            "refused_because": list(self.verdict.reasons),
            "receipt": self.value.receipt.as_dict(),
            "customers": jsonable(shown.to_dicts()),
        }

    def as_text(self, shown: pl.DataFrame) -> str:
        """For a terminal: what was read, how good the model is, and the customers given."""
        receipt = self.value.receipt
        lines = [
            f"{self.transactions.rows:,} rows read, {self.transactions.orders.height:,} orders of {self.customers.height:,} customers, as of {receipt.as_of_on}",
            *(f"  left out: {rows}" for rows in self.transactions.rejections()),
            *(f"  left out: {count:,} {reason}" for reason, count in receipt.excluded.items()),
            f"model: {receipt.model} ({receipt.version})" + (f"; simpler model: {receipt.fallback}" if receipt.fallback else ""),
            *(
                f"  {name} {part.value:.4g}" + ("" if part.standard_error is None else f" ± {part.standard_error:.2g}")
                for name, part in receipt.parameters.items()
            ),
            "accepted" if self.verdict.is_accepted else f"REFUSED: {'; '.join(self.verdict.reasons)}",
            "",
        ]
        with pl.Config(
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            tbl_width_chars=200,
            fmt_str_lengths=40,
        ):
            return "\n".join([*lines, str(shown)])


def score_file(
    path: Path, settings: Settings, *, columns: str | None = None, currency: str | None = None, as_of: date | None = None
) -> ScoredFile:
    """Read and score a file. Raises `ScoringError` where it cannot be read as transactions."""
    transactions = read_transactions(path, columns_option(columns), currency=currency_option(currency))
    moment = Moment.now(settings, as_of)
    moment = replace(moment, as_of=transactions.day(as_of, moment.scored_at.date()))
    inputs = Inputs({"orders": transactions.orders}, None, settings, moment)
    job = JOBS["customer_value"]
    value, rfm = job.score(inputs), JOBS["customer_rfm"].score(inputs)
    bounds = replace(job.bounds(settings), max_input_age=None)
    verdict = judge(value.receipt, value.rows, None, bounds, moment.scored_at)
    customers = (
        value.rows.join(rfm.rows.select("customer_id", *OF_RFM), on="customer_id", how="left")
        .join(transactions.customers, on="customer_id", how="left")
        .select("customer", pl.exclude("customer", "customer_id"))
        .sort("predicted_value_amount", "customer", descending=[True, False], nulls_last=True)
    )
    return ScoredFile(transactions, value, verdict, customers)
