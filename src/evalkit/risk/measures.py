"""Measures of predicted risks, of many weighted replicates at once.

Risks are sorted once, whatever the number of replicates; equal risks of equal outcome are joined, which changes no
number. Replicates are rows of weights (`risk.resample.draw_person_counts`), and every measure is that of the rows
repeated as often as their weight says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from evalkit.core.faults import choice_faults, refuse
from evalkit.risk.arrays import check_risks
from evalkit.risk.calibration import BLOCK, compute_distances, fit_draws, fit_spline_draws, place_knots

MEASURE_LABELS: dict[str, str] = {
    "auroc": "Area under the ROC curve",
    "auprc": "Area under the precision-recall curve",
    "brier": "Brier score",
    "scaled_brier": "Scaled Brier score",
    "log_loss": "Log loss",
    "observed_expected": "Observed over expected",
    "calibration_intercept": "Calibration in the large (log-odds)",
    "calibration_slope": "Calibration slope",
    "ici": "Integrated calibration index",
    "e50": "Median calibration error (E50)",
    "e90": "90th percentile of the calibration error (E90)",
    "emax": "Largest calibration error (Emax)",
}
MEASURES: tuple[str, ...] = tuple(MEASURE_LABELS)
_RANKED = ("auroc", "auprc")
_SUMS = ("brier", "scaled_brier", "log_loss", "observed_expected")
_FITS = ("calibration_intercept", "calibration_slope")
_CURVES = ("ici", "e50", "e90", "emax")


@dataclass(frozen=True, eq=False)
class _Rows:
    """Distinct risks (m,), those of events first, each part ascending; `counts` (B, m) of them; `events` of the m."""

    risk: np.ndarray
    counts: np.ndarray
    events: int

    @property
    def outcome(self) -> np.ndarray:
        return (np.arange(len(self.risk)) < self.events).astype(np.float64)


def compute_measures(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    counts: np.ndarray | None = None,
    names: Sequence[str] = MEASURES,
    knots: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Measures of risks (n,) against outcomes (n,) of 0 and 1, each (B,) for weights `counts` (B, n).

    Without `counts` each row counts once and B is 1. `names` are those wanted, of `MEASURES`; `knots` (log-odds)
    those of the smooth curve, else as `fit_calibration_curve` places them.

    - `auroc`: ties count half. `auprc`: average precision, a step at each distinct risk.
    - `brier`, `scaled_brier` = 1 - Brier / (o (1 - o)), o the observed risk; `log_loss` in nats a discharge;
      `observed_expected`: outcomes over the sum of risks.
    - `calibration_intercept`: of a logistic model with the log-odds of the risk as offset; `calibration_slope`: on
      those log-odds (Van Calster et al. 2019, BMC Med 17:230).
    - `ici`, `e50`, `e90`, `emax`: mean, median, 90th percentile and maximum of |smooth curve - risk| (Austin and
      Steyerberg 2019, Stat Med 38:4051).

    NaN where a measure is undefined in a replicate: one outcome class, all risks equal (slope), a risk of exactly 0
    or 1 (intercept, slope, curve; log loss if it was wrong), separation. Fails as `arrays.check_risks`: with
    `ParameterError`, and with `NotEstimable` below 10 rows with the outcome, or without it.
    """
    refuse([fault for name in names for fault in choice_faults("compute_measures names", name, MEASURES)])
    risk, outcome, counts = check_risks(risk, outcome, counts=counts)
    wanted, found = set(names), {}
    rows = _join_ties(risk, outcome, counts)
    if wanted & {*_RANKED, *_SUMS}:
        found |= _sums_and_ranks(rows, ranked=bool(wanted & set(_RANKED)))
    if wanted & set(_FITS):
        found |= _calibration(rows)
    if wanted & set(_CURVES):
        knots = place_knots(risk) if knots is None else np.asarray(knots, dtype=np.float64)
        coefficients = fit_spline_draws(rows.risk, rows.outcome, rows.counts, knots)
        found |= compute_distances(rows.risk, rows.counts, knots, coefficients)
    return {name: found[name] for name in names}


def _join_ties(risk: np.ndarray, outcome: np.ndarray, counts: np.ndarray) -> _Rows:
    order = np.lexsort((risk, -outcome))
    risk, outcome, counts = risk[order], outcome[order], np.take(counts, order, axis=1)
    first = np.r_[True, (np.diff(risk) != 0) | (np.diff(outcome) != 0)]
    if not first.all():
        kind = np.float64 if counts.dtype.kind == "f" else np.uint32
        counts = np.add.reduceat(counts, np.flatnonzero(first), axis=1, dtype=kind)
    return _Rows(risk[first], counts, int(outcome[first].sum()))


def _sums_and_ranks(rows: _Rows, *, ranked: bool) -> dict[str, np.ndarray]:
    """The measures that are sums over discharges, or over pairs of them, block by block of replicates."""
    terms = _terms(rows)
    step = max(1, BLOCK // len(rows.risk))
    parts = []
    for start in range(0, len(rows.counts), step):
        weights = rows.counts[start : start + step].astype(np.float64)
        parts.append(_from_sums(weights, terms) | (_from_ranks(rows, weights) if ranked else {}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _terms(rows: _Rows) -> np.ndarray:
    """Columns (m, 6) to be summed: one, outcome, risk, squared error, log loss where finite, whether it is infinite."""
    y = rows.outcome
    likely = np.where(y == 1, rows.risk, 1 - rows.risk)
    never = likely <= 0
    loss = -np.log(np.where(never, 1.0, likely))
    return np.column_stack([np.ones_like(y), y, rows.risk, (y - rows.risk) ** 2, loss, never])


def _from_sums(weights: np.ndarray, terms: np.ndarray) -> dict[str, np.ndarray]:
    total, events, expected, squares, loss, never = (weights @ terms).T
    total = np.where(total > 0, total, np.nan)
    observed, brier = events / total, squares / total
    worst = observed * (1 - observed)
    return {
        "brier": brier,
        "scaled_brier": 1 - brier / np.where(worst > 0, worst, np.nan),
        "log_loss": np.where(never > 0, np.nan, loss / total),
        "observed_expected": events / np.where(expected > 0, expected, np.nan),
    }


def _from_ranks(rows: _Rows, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Areas (b,) from the weight of others below, and at, the risk of each event; weights (b, m)."""
    cases, others = rows.risk[: rows.events], rows.risk[rows.events :]
    of_case, of_other = weights[:, : rows.events], weights[:, rows.events :]
    below = np.zeros((len(weights), len(others) + 1))
    np.cumsum(of_other, axis=1, out=below[:, 1:])
    n_others = below[:, -1:]
    less = below[:, np.searchsorted(others, cases, side="left")]
    upto = below[:, np.searchsorted(others, cases, side="right")]
    flagged_cases = np.cumsum(of_case[:, ::-1], axis=1)[:, ::-1]
    n_cases = flagged_cases[:, :1]
    both = np.where((n_cases > 0) & (n_others > 0), n_cases, np.nan)[:, 0]
    won = np.einsum("bm,bm->b", of_case, less + upto) / 2
    flagged = flagged_cases + (n_others - less)
    # A risk with no weight at or above it has no case either: any denominator will do.
    precision = flagged_cases / np.where(flagged > 0, flagged, 1.0)
    return {
        "auroc": won / (both * np.where(n_others > 0, n_others, np.nan)[:, 0]),
        "auprc": np.einsum("bm,bm->b", of_case, precision) / both,
    }


def _calibration(rows: _Rows) -> dict[str, np.ndarray]:
    sure = (rows.risk <= 0) | (rows.risk >= 1)
    undefined = np.full(len(rows.counts), np.nan)
    if sure.all():
        return {name: undefined.copy() for name in _FITS}
    kept = ~sure if sure.any() else slice(None)
    y, counts, odds = rows.outcome[kept], rows.counts[:, kept], logit(rows.risk[kept])
    ones = np.ones((len(y), 1))
    intercept = fit_draws(ones, y, counts, offset=odds)[:, 0]
    slope = undefined if np.ptp(odds) == 0 else fit_draws(np.column_stack([ones, odds]), y, counts)[:, 1]
    # A replicate that holds one distinct risk only, of either outcome, has no slope, though others have.
    slope = np.where(np.count_nonzero(counts, axis=1) > 2, slope, np.nan)
    out = {"calibration_intercept": intercept, "calibration_slope": slope}
    if sure.any():
        certain = rows.counts[:, sure].any(axis=1)
        out = {name: np.where(certain, np.nan, values) for name, values in out.items()}
    return out
