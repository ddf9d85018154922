"""The model of customer value: how often (BG/NBD) and for how much (gamma-gamma by currency), fitted or, with little history, assumed in part.

**Fallbacks**, so that a young shop has figures too:

- Purchases: with fewer than `min_repeat_customers` customers who came back (or no maximum of the likelihood), the shapes r, a and b are
  not fitted but taken as DEFAULT_SHAPES; only the time scale alpha is set, so that the repeat purchases expected of these customers, and
  of one more of PRIOR_AGE_DAYS, are those seen plus half a purchase. A cohort's rate, drawn towards CDNOW's as long as little has been
  seen, and it alone on a shop's first day: a customer's own history moves it as the shapes say.
- Spend: with fewer than `min_spend_customers` customers of positive spend in a currency, the shapes p and q are those of the currency
  with most customers, or DEFAULT_SPEND_SHAPES where none has enough; the scale v is set so that a new customer's mean is the currency's
  own mean. Amounts of two currencies are never added up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from commerce_assets.scoring.customers.bgnbd import PARAMETERS, BgNbd, BgNbdFit, Repeats, fit_bgnbd, grouped_repeats
from commerce_assets.scoring.customers.gamma_gamma import GammaGamma, GammaGammaFit, fit_gamma_gamma
from commerce_assets.scoring.customers.maximum import Floats, Maximum
from commerce_assets.scoring.customers.purchases import expected_of_new
from commerce_assets.scoring.customers.settings import CustomerValueSettings
from commerce_assets.scoring.receipts import Estimate

DEFAULT_SHAPES = (0.5, 0.8, 2.5)
"""r, a, b: between the published fits of CDNOW (.243, .793, 2.426) and those of shops whose customers come back more."""
PRIOR_AGE_DAYS = 75.5
"""In them a customer of DEFAULT_SHAPES who buys at CDNOW's mean rate (alpha 9.1, .243 / 4.414 a week at first) has half a repeat."""
DEFAULT_SPEND_SHAPES = (6.25, 3.74)
"""p, q of CDNOW (note 025): a purchase of one's own weighs 2.3 times as much as everyone's mean."""


@dataclass(frozen=True)
class CustomerModel:
    """What is used to predict."""

    purchases: BgNbd
    spend: Mapping[str, GammaGamma]
    """By currency; missing where nobody has positive spend: nothing is predicted to be spent there."""
    purchases_maximum: Maximum | None
    """None where the shapes were assumed."""
    spend_maxima: Mapping[str, Maximum]
    """Of currencies whose spend was fitted."""
    fallback: str | None
    is_converged: bool
    """False where there was history enough and yet no maximum was found; too little history is no failure."""
    notes: tuple[str, ...]
    unspent_customers: int
    """Customers without positive spend, left out of the spend's likelihood."""

    @property
    def purchases_name(self) -> str:
        return "bg_nbd" if self.purchases_maximum else "bg_nbd_assumed_shapes"

    def name(self, currency_code: str) -> str:
        spend = "gamma_gamma" if currency_code in self.spend_maxima else "gamma_gamma_assumed_shapes"
        return f"{self.purchases_name}+{spend}" if currency_code in self.spend else f"{self.purchases_name}+no_spend"

    def estimates(self) -> dict[str, Estimate]:
        """Parameters for the receipt; those of spend as `p_GBP`."""
        values = (self.purchases.r, self.purchases.alpha, self.purchases.a, self.purchases.b)
        errors = self.purchases_maximum.standard_errors if self.purchases_maximum else (None,) * 4
        found = {name: Estimate(value, error) for name, value, error in zip(PARAMETERS, values, errors, strict=True)}
        for currency, model in sorted(self.spend.items()):
            fitted = self.spend_maxima.get(currency)
            errors = fitted.standard_errors if fitted else (None,) * 3
            for name, value, error in zip(("p", "q", "v"), (model.p, model.q, model.v), errors, strict=True):
                found[f"{name}_{currency}"] = Estimate(value, error)
        return found


def fit_customer_model(histories: pl.DataFrame, settings: CustomerValueSettings) -> CustomerModel:
    """The model of customers with `histories` (HISTORY_SCHEMA, at least one row)."""
    grouped = grouped_repeats(*(histories[name].to_numpy() for name in ("repeat_count", "span_days", "age_days")))
    purchases, maximum, fallback, notes = _purchases(grouped, settings)
    was_fitted = int(grouped.customers[grouped.repeats > 0].sum()) >= settings.min_repeat_customers
    spend, maxima, spend_fallback, spend_notes = _spend(histories, settings)
    words = [part for part in (fallback, spend_fallback) if part]
    return CustomerModel(
        purchases=purchases,
        spend=spend,
        purchases_maximum=maximum,
        spend_maxima=maxima,
        fallback="; ".join(words) or None,
        is_converged=maximum is not None or not was_fitted,
        notes=(*notes, *spend_notes),
        unspent_customers=histories.filter(pl.col("value_amount") <= 0).height,
    )


def _purchases(histories: Repeats, settings: CustomerValueSettings) -> tuple[BgNbd, Maximum | None, str | None, tuple[str, ...]]:
    came_back = int(histories.customers[histories.repeats > 0].sum())
    if came_back < settings.min_repeat_customers:
        why = f"{came_back:,} customers came back, fewer than {settings.min_repeat_customers:,}"
        return _assumed_shapes(histories), None, f"{why}: shapes of the purchase model assumed, only its rate set", ()
    fit: BgNbdFit = fit_bgnbd(histories)
    if not fit.maximum.is_converged:
        why = f"the likelihood of purchases has no maximum that was found (slope {fit.maximum.slope:.1e})"
        return _assumed_shapes(histories), None, f"{why}: shapes assumed, only the rate set", ()
    bounded = [name for name, is_bound in zip(PARAMETERS, fit.maximum.at_bound, strict=True) if is_bound]
    note = (f"{', '.join(bounded)} of the purchase model at the bound of the search: customers hardly differ there",) if bounded else ()
    return fit.model, fit.maximum, None, note


def _assumed_shapes(histories: Repeats) -> BgNbd:
    """DEFAULT_SHAPES with the alpha at which the repeats expected are those seen, both with the prior's; bisection on its logarithm."""
    r, a, b = DEFAULT_SHAPES
    ages, at = np.unique(np.append(histories.age_days, PRIOR_AGE_DAYS), return_inverse=True)
    customers = np.bincount(at, np.append(histories.customers, 1.0), ages.size)
    wanted = float(histories.repeats @ histories.customers) + 0.5
    low, high = np.log(0.01), np.log(1e5)
    for _ in range(60):
        middle = (low + high) / 2
        expected = float(customers @ expected_of_new(BgNbd(r, float(np.exp(middle)), a, b), ages))
        # A longer scale means fewer purchases.
        low, high = (middle, high) if expected > wanted else (low, middle)
    return BgNbd(r, float(np.exp((low + high) / 2)), a, b)


def _spend(
    histories: pl.DataFrame, settings: CustomerValueSettings
) -> tuple[dict[str, GammaGamma], dict[str, Maximum], str | None, tuple[str, ...]]:
    spenders = histories.filter(pl.col("value_amount") > 0).select(
        "currency_code", pl.col("spend_days").cast(pl.Float64), pl.col("value_amount").cast(pl.Float64)
    )
    by_currency: dict[str, tuple[Floats, Floats]] = {
        str(currency): (rows["spend_days"].to_numpy(), rows["value_amount"].to_numpy())
        for (currency,), rows in sorted(spenders.partition_by("currency_code", as_dict=True).items())
    }
    models: dict[str, GammaGamma] = {}
    maxima: dict[str, Maximum] = {}
    for currency, (count, total) in by_currency.items():
        if count.size >= settings.min_spend_customers and _differ(total / count):
            fit: GammaGammaFit = fit_gamma_gamma(count, total)
            if fit.model:
                models[currency], maxima[currency] = fit.model, fit.maximum
    few = [currency for currency in by_currency if currency not in models]
    most = max(models, key=lambda currency: (by_currency[currency][0].size, currency), default=None)
    p, q = (models[most].p, models[most].q) if most else DEFAULT_SPEND_SHAPES
    for currency in few:
        count, total = by_currency[currency]
        mean = max(float(np.sort(total / count).mean()), 1e-4)
        models[currency] = GammaGamma(p, q, mean * (q - 1) / p)
    source = f"taken from {most}" if most else "assumed"
    words = f"spread of spend in {', '.join(few)} {source}, its mean the currency's own: too few customers, or no spread to fit"
    if most is None and few:
        return models, maxima, words, ()
    return models, maxima, None, (words,) if few else ()


def _differ(means: Floats) -> bool:
    """Whether customers' means differ at all: without that, the likelihood rises for ever."""
    return bool(means.max() - means.min() > 1e-9 * means.max())
