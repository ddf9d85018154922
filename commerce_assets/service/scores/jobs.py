"""The list of scores: what each reads, the pure function that makes it, and where its tables are kept."""

from commerce_assets.scoring import RFM_COLUMNS, RFM_SCHEMA, RfmSettings, score_customers
from commerce_assets.scoring.receipts import InputFacts, Receipt, Scored, code_digest, package_versions
from commerce_assets.service.scores.running import Inputs, ScoreJob


def job(name: str) -> ScoreJob:
    """The score of that name."""
    return JOBS[name]


def _customer_rfm(inputs: Inputs) -> Scored:
    from commerce_assets.scoring import rfm

    settings = RfmSettings(lapsed_after_days=inputs.settings.lapsed_after_days)
    moment = inputs.moment
    scores, receipt = score_customers(inputs.frames["orders"], moment.as_of, scored_at=moment.scored_at, settings=settings)
    counts = {**receipt.segments, **receipt.lifecycles}
    return Scored(
        scores,
        Receipt(
            score="customer_rfm",
            model="quintiles",
            version=receipt.version,
            code_digest=code_digest(rfm.__file__),
            as_of_on=receipt.as_of_on,
            scored_at=receipt.scored_at,
            valid_until=moment.valid_until,
            seed=0,
            inputs={"orders": InputFacts(receipt.input_rows, receipt.input_first_on, receipt.input_last_on, inputs.complete_at)},
            rows=receipt.scored_customers,
            excluded={f"orders_{reason}": count for reason, count in receipt.excluded.items()},
            trained_from_on=receipt.input_first_on,
            trained_to_on=receipt.input_last_on,
            settings=dict(receipt.parameters),
            notes=(", ".join(f"{count:,} {name}" for name, count in counts.items()),) if counts else (),
            monitored={"scored_customers": float(receipt.scored_customers)},
            packages=package_versions("polars"),
        ),
    )


JOBS: dict[str, ScoreJob] = {
    made.name: made
    for made in (
        ScoreJob(
            name="customer_rfm",
            schema=RFM_SCHEMA,
            columns=RFM_COLUMNS,
            queries=("orders",),
            families=("orders",),
            score=_customer_rfm,
            may_be_empty=True,
        ),
    )
}
