"""A model of chargebacks on the same features as the evidence, and how a score becomes a probability.

Gradient boosted trees (scikit-learn's HistGradientBoostingClassifier), on one thread: sums over threads would differ in their last bits.
Probabilities come from an isotonic fit on orders later than those the model was trained on (Zadrozny and Elkan, 2002).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.risk.evidence import Piece
from commerce_assets.scoring.risk.features import FEATURES, as_matrix
from commerce_assets.scoring.risk.settings import RiskSettings

Floats = NDArray[np.float64]
TREES = {"max_iter": 120, "learning_rate": 0.06, "max_leaf_nodes": 12, "min_samples_leaf": 40, "l2_regularization": 5.0}


@dataclass(frozen=True)
class ChargebackModel:
    """Trained trees, the mean log-odds of its training orders, and what each feature usually is."""

    trees: Any
    usual_rate: float
    usual_values: NDArray[np.float32]
    is_unknown: NDArray[np.bool_]
    """Features no training order had: held at 0, for trees cannot bin what is never there."""
    orders: int
    chargebacks: int

    def log_odds(self, features: pl.DataFrame) -> Floats:
        """Log-odds of a chargeback by order."""
        return self._of_matrix(as_matrix(features))

    def contributions(self, features: pl.DataFrame, pieces: tuple[Piece, ...]) -> pl.DataFrame:
        """Log-odds an order owes to each piece: those it has less those it would have were the piece's features what they usually are."""
        matrix = as_matrix(features)
        as_it_is = self._of_matrix(matrix)
        owed = {}
        for piece in pieces:
            columns = [FEATURES.index(name) for name in piece.features]
            kept = matrix[:, columns]
            matrix[:, columns] = self.usual_values[columns]
            owed[piece.name] = as_it_is - self._of_matrix(matrix) if columns else np.zeros(len(matrix))
            matrix[:, columns] = kept
        return pl.DataFrame(owed)

    def _of_matrix(self, matrix: NDArray[np.float32]) -> Floats:
        from threadpoolctl import threadpool_limits

        if not len(matrix):
            return np.zeros(0)
        matrix[:, self.is_unknown] = 0
        with threadpool_limits(limits=1):
            return np.asarray(self.trees.decision_function(matrix), dtype=np.float64)


@dataclass(frozen=True)
class Calibration:
    """Score in log-odds -> probability, never falling; learnt from `orders` with `chargebacks` among them."""

    isotonic: Any
    floor: float
    orders: int
    chargebacks: int

    def rates(self, log_odds: Floats) -> Floats:
        """Probability of a chargeback; no lower than what so many orders can tell from none at all."""
        return np.clip(self.isotonic.predict(log_odds), self.floor, 1 - self.floor) if len(log_odds) else np.zeros(0)


def train(features: pl.DataFrame, settings: RiskSettings, seed: int) -> ChargebackModel:
    """Train on orders with known outcome (`is_chargeback` never null), sorted by `ordered_at` and `order_id`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    sample, weights = _sampled(features, settings.max_training_orders, seed)
    matrix, outcome = as_matrix(sample), sample["is_chargeback"].to_numpy()
    is_unknown = np.isnan(matrix).all(axis=0)
    matrix[:, is_unknown] = 0
    trees = HistGradientBoostingClassifier(**TREES, early_stopping=False, random_state=seed)
    with threadpool_limits(limits=1):
        trees.fit(matrix, outcome, sample_weight=weights)
    usual = np.nanmedian(matrix, axis=0)
    chargebacks = int(outcome.sum())
    return ChargebackModel(trees, chargebacks / features.height, usual, is_unknown, features.height, chargebacks)


def calibrate(log_odds: Floats, outcome: NDArray[np.bool_], settings: RiskSettings) -> Calibration | None:
    """Isotonic probabilities; None where there are too few chargebacks (or nothing else) to learn them from."""
    from sklearn.isotonic import IsotonicRegression

    chargebacks = int(outcome.sum())
    if chargebacks < settings.min_calibration_chargebacks or chargebacks == len(outcome):
        return None
    isotonic = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0)
    # One order more, the riskiest, that came to nothing: a step of few orders, all charged back, is no certainty.
    isotonic.fit(np.append(log_odds, log_odds.max()), np.append(outcome.astype(np.float64), 0.0))
    return Calibration(isotonic, 1 / (len(outcome) + 2), len(outcome), chargebacks)


def _sampled(features: pl.DataFrame, most: int, seed: int) -> tuple[pl.DataFrame, Floats]:
    """All chargebacks and at most so many other orders, which stand for those left out by their weight."""
    others = np.flatnonzero(~features["is_chargeback"].to_numpy())
    if len(others) <= most:
        return features, np.ones(features.height)
    kept = np.random.default_rng(seed).choice(others, most, replace=False)
    rows = np.sort(np.concatenate((np.flatnonzero(features["is_chargeback"].to_numpy()), kept)))
    sample = features[rows]
    return sample, np.where(sample["is_chargeback"].to_numpy(), 1.0, len(others) / most)
