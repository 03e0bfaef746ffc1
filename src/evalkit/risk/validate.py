"""How well predicted risks fit what followed: discrimination, calibration, Brier, clustered by person.

The functions take arrays, so that any model's risks can be validated, and give small frozen results;
`evalkit.risk.cells` lays them out as tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check

MEASURE_LABELS: dict[str, str] = {
    "auroc": "Area under the ROC curve",
    "brier": "Brier score",
    "scaled_brier": "Scaled Brier score",
    "calibration_intercept": "Calibration in the large (log-odds)",
    "calibration_slope": "Calibration slope",
}
_RANGES = {"auroc": (0.0, 1.0), "brier": (0.0, 1.0), "scaled_brier": (-math.inf, 1.0)}

# Fewer events than this in either class and no measure is given.
FEWEST_EVENTS = 10
# External validation wants at least 100 events (Collins, Ogundimu and Altman 2016, Stat Med 35:214).
ADVISED_EVENTS = 100
_MOST_STEPS = 50


@dataclass(frozen=True)
class RiskPerformance:
    """Measures of one set of risks: `values[i]` of `names[i]`, with its standard error and interval.

    `names` are keys of `MEASURE_LABELS`; all are ratios or scores without unit, the intercept a
    difference of log-odds. Undefined is NaN. `n_events` counts discharges with the outcome.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    se: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    level: float
    n_discharges: int
    n_people: int
    n_events: int
    checks: tuple[Check, ...]

    def value(self, name: str) -> float:
        """One measure by name."""
        return self.values[self.names.index(name)]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a measure: name (index), value, se, lower, upper."""
        columns = {"value": self.values, "se": self.se, "lower": self.lower, "upper": self.upper}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="measure"))


@dataclass(frozen=True)
class CalibrationCurve:
    """Mean predicted and observed risk in groups of predicted risk, lowest first; tuples of one length."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    n_discharges: tuple[int, ...]
    n_people: tuple[int, ...]
    n_events: tuple[int, ...]
    level: float


@dataclass(frozen=True)
class LogisticFit:
    """Maximum likelihood: `coefficients` (k,), model-based `covariance` (k, k), and by cluster `robust`."""

    coefficients: np.ndarray
    covariance: np.ndarray
    robust: np.ndarray


def validate_risk_model(
    risk: np.ndarray, outcome: np.ndarray, *, person: np.ndarray, level: float = 0.95
) -> RiskPerformance:
    """Measure predicted risks (n,) against outcomes (n,), tied together by `person` (n,).

    - `auroc`: DeLong's variance, summed by person (Obuchowski 1997, Biometrics 53:567).
    - `brier`: mean squared error; `scaled_brier` = 1 - Brier / (o (1 - o)) with o the observed risk,
      variance by the delta method.
    - `calibration_intercept`: of a logistic model with the log-odds of the risk as offset, 0 when right
      on average; `calibration_slope`: on those log-odds, 1 when right, below 1 when risks are too
      extreme (Van Calster et al. 2019, BMC Med 17:230).

    Intervals are normal at `level`, cut to the measure's range, their errors robust to repeats of a
    person. A measure that is undefined (constant risks, risks of exactly 0 or 1, separation) is NaN, and
    one whose variance is nil has no interval.

    Fails with `ParameterError` for malformed arrays and with `NotEstimable` where either outcome class
    has fewer than `FEWEST_EVENTS` discharges.
    """
    risk, outcome = _as_arrays(risk, outcome, person, level)
    fewer = int(min(outcome.sum(), len(outcome) - outcome.sum()))
    if fewer < FEWEST_EVENTS:
        raise NotEstimable(
            Fault(
                "validation of risks",
                "too few discharges with the outcome, or without it",
                allowed=f"{FEWEST_EVENTS} or more of each",
            )
        )
    cluster = pd.factorize(np.asarray(person))[0]
    found = {"auroc": compute_auroc(risk, outcome, cluster=cluster), **_brier(risk, outcome, cluster)}
    found |= _calibration(risk, outcome, cluster)
    z = norm.ppf(0.5 + level / 2)
    ends = {name: _interval(name, value, se, z) for name, (value, se) in found.items()}
    return RiskPerformance(
        names=tuple(found),
        values=tuple(float(value) for value, _ in found.values()),
        se=tuple(float(se) for _, se in found.values()),
        lower=tuple(low for low, _ in ends.values()),
        upper=tuple(high for _, high in ends.values()),
        level=level,
        n_discharges=len(outcome),
        n_people=int(cluster.max()) + 1,
        n_events=int(outcome.sum()),
        checks=_checks(fewer, found),
    )


def compute_auroc(risk: np.ndarray, outcome: np.ndarray, *, cluster: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve (ties count half) and its standard error, from placement values.

    `cluster` (n,) are codes from 0. With each row a cluster this is DeLong, DeLong and Clarke-Pearson
    1988 (Biometrics 44:837), by mid-ranks in O(n log n) (Sun and Xu 2014, IEEE Signal Process Lett
    21:1389); otherwise Obuchowski 1997. NaN error with fewer than two clusters in a class.

    >>> area, se = compute_auroc(np.array([0.3, 0.2, 0.1]), np.array([1, 0, 0]), cluster=np.arange(3))
    >>> float(area), se  # one event: no error can be had
    (1.0, nan)
    """
    event = outcome == 1
    n_events, n_others = int(event.sum()), int((~event).sum())
    ranks = rankdata(risk)
    # A row's placement: the share of the other class that it is on the right side of.
    of_events = (ranks[event] - rankdata(risk[event])) / n_others
    of_others = 1 - (ranks[~event] - rankdata(risk[~event])) / n_events
    area = float(of_events.mean())
    clusters = int(cluster.max()) + 1
    by_event = np.bincount(cluster[event], of_events - area, clusters)
    by_other = np.bincount(cluster[~event], of_others - area, clusters)
    with_event, with_other = len(np.unique(cluster[event])), len(np.unique(cluster[~event]))
    if min(with_event, with_other) < 2:
        return area, math.nan
    variance = (
        with_event / (with_event - 1) * np.sum(by_event**2) / n_events**2
        + with_other / (with_other - 1) * np.sum(by_other**2) / n_others**2
        + 2 * clusters / (clusters - 1) * np.sum(by_event * by_other) / (n_events * n_others)
    )
    return area, math.sqrt(max(variance, 0.0))


def fit_logistic(
    design: np.ndarray, outcome: np.ndarray, *, cluster: np.ndarray, offset: np.ndarray | float = 0.0
) -> LogisticFit | None:
    """Logistic regression on `design` (n, k) by Newton's method with step halving.

    `robust` is the sandwich summed over `cluster` (n,) times G / (G - 1), G the number of clusters.
    None where no finite maximum exists (separation, a design without full rank).
    """
    beta = np.zeros(design.shape[1])
    likelihood = _log_likelihood(design @ beta + offset, outcome)
    for _ in range(_MOST_STEPS):
        fitted = expit(design @ beta + offset)
        information = design.T @ (design * (fitted * (1 - fitted))[:, None])
        if not np.linalg.cond(information) < 1e14:
            return None
        step = np.linalg.solve(information, design.T @ (outcome - fitted))
        trial = _log_likelihood(design @ (beta + step) + offset, outcome)
        while trial < likelihood - 1e-9 * abs(likelihood):
            step = step / 2
            trial = _log_likelihood(design @ (beta + step) + offset, outcome)
        beta, likelihood = beta + step, trial
        if np.max(np.abs(step)) < 1e-10 * (1 + np.max(np.abs(beta))):
            return _with_covariance(beta, design, outcome, cluster, offset)
    return None


def calibration_curve(
    risk: np.ndarray, outcome: np.ndarray, *, person: np.ndarray, bins: int = 10, level: float = 0.95
) -> CalibrationCurve:
    """Observed against predicted risk in `bins` groups of equal size of predicted risk.

    Equal risks stay together, so there may be fewer groups. Intervals are Wilson's (1927), which take
    discharges of one person as independent. Fails with `ParameterError` for malformed arrays, `bins`
    below 2 or fewer discharges than `bins`.
    """
    risk, outcome = _as_arrays(risk, outcome, person, level)
    if not 2 <= bins <= len(risk):
        raise ParameterError(Fault("calibration_curve", "bins is out of range", str(bins), f"2 to {len(risk)}"))
    first = rankdata(risk, method="min").astype(np.int64) - 1
    rows = pd.DataFrame({"group": first * bins // len(risk), "risk": risk, "outcome": outcome, "person": person})
    groups = rows.groupby("group", sort=True)
    n, events = groups.size().to_numpy(), groups["outcome"].sum().to_numpy()
    low, high = wilson_interval(events, n, level=level)
    return CalibrationCurve(
        predicted=tuple(groups["risk"].mean().tolist()),
        observed=tuple((events / n).tolist()),
        lower=tuple(low.tolist()),
        upper=tuple(high.tolist()),
        n_discharges=tuple(n.tolist()),
        n_people=tuple(groups["person"].nunique().tolist()),
        n_events=tuple(int(count) for count in events),
        level=level,
    )


def wilson_interval(events: np.ndarray, n: np.ndarray, *, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval for `events` out of `n` (Wilson 1927, JASA 22:209), arrays of one shape."""
    z2 = norm.ppf(0.5 + level / 2) ** 2
    share = events / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


# ---- parts ---------------------------------------------------------------------------------------


def _brier(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> dict[str, tuple[float, float]]:
    squares = (outcome - risk) ** 2
    brier, observed = squares.mean(), outcome.mean()
    worst = observed * (1 - observed)
    of_scaled = -(squares - brier) / worst + brier / worst**2 * (1 - 2 * observed) * (outcome - observed)
    return {
        "brier": (brier, _clustered_se(squares - brier, cluster)),
        "scaled_brier": (1 - brier / worst, _clustered_se(of_scaled, cluster)),
    }


def _clustered_se(influence: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of a mean from the rows' influence (n,), summed within clusters."""
    sums = np.bincount(cluster, influence)
    if len(sums) < 2:
        return math.nan
    return math.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / len(influence)


def _calibration(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> dict[str, tuple[float, float]]:
    undefined = {"calibration_intercept": (math.nan, math.nan), "calibration_slope": (math.nan, math.nan)}
    if risk.min() <= 0 or risk.max() >= 1:
        return undefined
    odds, ones = logit(risk), np.ones(len(risk))
    fits = {
        "calibration_intercept": fit_logistic(ones[:, None], outcome, cluster=cluster, offset=odds),
        "calibration_slope": fit_logistic(np.column_stack([ones, odds]), outcome, cluster=cluster),
    }
    return undefined | {
        name: (fit.coefficients[-1], math.sqrt(fit.robust[-1, -1])) for name, fit in fits.items() if fit is not None
    }


def _log_likelihood(linear: np.ndarray, outcome: np.ndarray) -> float:
    return float(np.sum(outcome * linear - np.logaddexp(0, linear)))


def _with_covariance(
    beta: np.ndarray, design: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, offset: np.ndarray | float
) -> LogisticFit:
    fitted = expit(design @ beta + offset)
    covariance = np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    scores = design * (outcome - fitted)[:, None]
    summed = np.column_stack([np.bincount(cluster, column) for column in scores.T])
    clusters = len(summed)
    factor = clusters / (clusters - 1) if clusters > 1 else math.nan
    return LogisticFit(beta, covariance, factor * covariance @ (summed.T @ summed) @ covariance)


def _interval(name: str, value: float, se: float, z: float) -> tuple[float, float]:
    if not se > 0:
        return math.nan, math.nan
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    return float(max(value - z * se, low)), float(min(value + z * se, high))


def _checks(fewer: int, found: dict[str, tuple[float, float]]) -> tuple[Check, ...]:
    enough = fewer >= ADVISED_EVENTS
    words = "At least" if enough else "Fewer than"
    undefined = [MEASURE_LABELS[name] for name, (value, _) in found.items() if math.isnan(value)]
    said = f"Undefined: {', '.join(undefined)}." if undefined else "Every measure is defined."
    return (
        Check(
            "events_for_validation",
            passed=enough,
            value=ADVISED_EVENTS,
            text=f"{words} {ADVISED_EVENTS} events in the rarer class, as advised for validation.",
        ),
        Check("measures_defined", passed=not undefined, value=float(len(undefined)), text=said),
    )


def _as_arrays(
    risk: np.ndarray, outcome: np.ndarray, person: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    risk, outcome = np.asarray(risk, dtype=float), np.asarray(outcome, dtype=float)
    faults = []
    if risk.ndim != 1 or len(risk) == 0 or not risk.shape == outcome.shape == np.shape(person):
        got = f"{risk.shape}, {outcome.shape}, {np.shape(person)}"
        faults.append(Fault("risk, outcome, person", "must be of one shape (n,), n above 0", got))
    if not np.all((risk >= 0) & (risk <= 1)):
        faults.append(Fault("risk", "is missing, below 0 or above 1", allowed="probabilities"))
    if not np.all((outcome == 0) | (outcome == 1)):
        faults.append(Fault("outcome", "is missing or holds other values", allowed="0 and 1"))
    if pd.isna(np.asarray(person)).any():
        faults.append(Fault("person", "is missing for some discharges"))
    if not 0 < level < 1:
        faults.append(Fault("level", "is out of range", str(level), "between 0 and 1"))
    if faults:
        raise ParameterError(faults)
    return risk, outcome
