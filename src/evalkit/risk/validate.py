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

from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.risk.arrays import refuse_few, risk_faults
from evalkit.risk.calibration import KNOT_SHARES, LEAST_DEFINED, place_knots
from evalkit.risk.calibration_test import DISTANCES, CalibrationTest, compute_calibration_test
from evalkit.risk.measures import MEASURE_LABELS, MEASURES, compute_measures
from evalkit.risk.resample import draw_person_counts

# External validation wants at least 100 events (Collins, Ogundimu and Altman 2016, Stat Med 35:214).
ADVISED_EVENTS = 100
# Those whose errors come from the bootstrap: they are no smooth function of means.
_DRAWN = ("auprc", "ici", "e50", "e90", "emax")
_SHARES = ("auroc", "auprc", "brier")
_POSITIVE = ("log_loss",)
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
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    rng: np.random.Generator,
    level: float = 0.95,
    replicates: int = 200,
) -> RiskPerformance:
    """Measure predicted risks (n,) against outcomes (n,), tied together by `person` (n,).

    The measures are those of `measures.compute_measures`. Every error counts a person's discharges together:

    - `auroc`: DeLong's variance, summed by person (Obuchowski 1997, Biometrics 53:567).
    - `brier`, `scaled_brier`, `log_loss`, `observed_expected`: the delta method on sums by person.
    - `calibration_intercept`, `calibration_slope`: the sandwich, summed by person.
    - `auprc`, `ici`, `e50`, `e90`, `emax`: the standard deviation over `replicates` bootstrap draws of people.

    Intervals at `level` are normal: on the log scale for observed over expected, on the logit scale for `auprc`, and
    for another measure with a bounded range on the logit or log scale where a normal interval at 99.9% would leave
    that range. Those of `ici`, `e50`, `e90`, `emax` begin at 0 where `compute_calibration_test` does not find the risks
    wrong: they are above 0 also where every risk is right, and an interval around them would then miss the truth. A
    measure that is undefined is NaN, and one whose variance is nil, or that is undefined in more than a tenth of the
    replicates, has no interval.

    Fails with `ParameterError` for malformed arrays and with `NotEstimable` where either outcome class has fewer than
    `arrays.FEWEST_EVENTS` discharges.
    """
    faults = [*risk_faults(risk, outcome, person), *level_faults(level)]
    refuse([*faults, *whole_faults("replicates", replicates, least=2), *rng_faults(rng)])
    risk, outcome = np.asarray(risk, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    fewer = refuse_few(outcome)
    cluster, people = pd.factorize(np.asarray(person), sort=True)  # sorted, so that the order of rows changes nothing
    values = {name: float(value[0]) for name, value in compute_measures(risk, outcome).items()}
    counts = np.take(draw_person_counts(np.arange(len(people)), replicates=replicates, rng=rng), cluster, axis=1)
    drawn = compute_measures(risk, outcome, counts=counts, names=_DRAWN, knots=place_knots(risk))
    errors = {"auroc": compute_auroc(risk, outcome, cluster=cluster)[1]}
    errors |= _errors_of_sums(risk, outcome, cluster, values) | _errors_of_calibration(risk, outcome, cluster)
    errors |= {name: _spread(drawn[name]) for name in _DRAWN}
    se = {name: errors[name] if math.isfinite(values[name]) else math.nan for name in MEASURES}
    ends = [_interval(name, values[name], se[name], level) for name in MEASURES]
    test = compute_calibration_test(risk, outcome, cluster=cluster)
    if not test.p_value <= 1 - level:
        ends = [
            (0.0 if name in DISTANCES and low >= 0 else low, high)
            for name, (low, high) in zip(MEASURES, ends, strict=True)
        ]
    return RiskPerformance(
        names=MEASURES,
        values=tuple(values[name] for name in MEASURES),
        se=tuple(se[name] for name in MEASURES),
        lower=tuple(low for low, _ in ends),
        upper=tuple(high for _, high in ends),
        level=level,
        n_discharges=len(outcome),
        n_people=len(people),
        n_events=int(outcome.sum()),
        checks=(*_checks(fewer, values, drawn, len(place_knots(risk))), _calibration_check(test, level)),
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
    refuse([*risk_faults(risk, outcome, person), *level_faults(level)])
    risk, outcome = np.asarray(risk, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
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


def _errors_of_sums(
    risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, values: dict[str, float]
) -> dict[str, float]:
    """Standard errors of what is made of means, by the delta method."""
    squares, brier, observed = (outcome - risk) ** 2, values["brier"], outcome.mean()
    worst, ratio = observed * (1 - observed), values["observed_expected"]
    scaled = -(squares - brier) / worst + brier / worst**2 * (1 - 2 * observed) * (outcome - observed)
    found = {
        "brier": _clustered_se(squares - brier, cluster),
        "scaled_brier": _clustered_se(scaled, cluster),
        "log_loss": math.nan,
        "observed_expected": math.nan,
    }
    if math.isfinite(ratio):
        found["observed_expected"] = _clustered_se((outcome - ratio * risk) / risk.mean(), cluster)
    if math.isfinite(values["log_loss"]):
        loss = -np.log(np.where(outcome == 1, risk, 1 - risk))
        found["log_loss"] = _clustered_se(loss - values["log_loss"], cluster)
    return found


def _spread(draws: np.ndarray) -> float:
    """Standard deviation of replicates (B,), NaN where too few of them are defined."""
    kept = draws[np.isfinite(draws)]
    return float(kept.std(ddof=1)) if len(kept) >= max(2, LEAST_DEFINED * len(draws)) else math.nan


def _clustered_se(influence: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of a mean from the rows' influence (n,), summed within clusters."""
    sums = np.bincount(cluster, influence)
    if len(sums) < 2:
        return math.nan
    return math.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / len(influence)


def _errors_of_calibration(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> dict[str, float]:
    found = {"calibration_intercept": math.nan, "calibration_slope": math.nan}
    if risk.min() <= 0 or risk.max() >= 1:
        return found
    odds, ones = logit(risk), np.ones(len(risk))
    fits = {
        "calibration_intercept": fit_logistic(ones[:, None], outcome, cluster=cluster, offset=odds),
        "calibration_slope": fit_logistic(np.column_stack([ones, odds]), outcome, cluster=cluster),
    }
    return found | {name: math.sqrt(fit.robust[-1, -1]) for name, fit in fits.items() if fit is not None}


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


def _interval(name: str, value: float, se: float, level: float) -> tuple[float, float]:
    if not se > 0:
        return math.nan, math.nan
    z, wide = float(norm.ppf(0.5 + level / 2)), float(norm.ppf(0.9995)) * se
    low, high = value - z * se, value + z * se
    if name in _SHARES and (name == "auprc" or value - wide < 0 or value + wide > 1):
        if not 0 < value < 1:
            return math.nan, math.nan
        reach = z * se / (value * (1 - value))
        low, high = (float(expit(logit(value) + side * reach)) for side in (-1, 1))
    elif name == "observed_expected" or (name in _POSITIVE and value - wide < 0):
        low, high = (value * math.exp(side * z * se / value) for side in (-1, 1))
    elif name == "scaled_brier" and value + wide > 1:
        low, high = (1 - (1 - value) * math.exp(side * z * se / (1 - value)) for side in (1, -1))
    elif name in _DRAWN:
        low = max(low, 0.0)
    return low, high


def _calibration_check(test: CalibrationTest, level: float) -> Check:
    if math.isnan(test.p_value):
        return Check("calibrated", passed=None, value=math.nan, text="Whether the risks are right could not be tested.")
    right = test.p_value > 1 - level
    found = "are not found to be wrong" if right else "are not those that came true"
    p = f"p = {test.p_value:.3f}" if test.p_value >= 0.001 else "p < 0.001"
    text = f"Along their range the risks {found} (score test, {p})."
    return Check("calibrated", passed=right, value=test.p_value, text=text)


def _checks(fewer: int, values: dict[str, float], drawn: dict[str, np.ndarray], knots: int) -> tuple[Check, ...]:
    enough = fewer >= ADVISED_EVENTS
    words = "At least" if enough else "Fewer than"
    undefined = [MEASURE_LABELS[name] for name, value in values.items() if math.isnan(value)]
    said = f"Undefined: {', '.join(undefined)}." if undefined else "Every measure is defined."
    share = min(float(np.isfinite(drawn[name]).mean()) for name in _DRAWN)
    bent = knots == len(KNOT_SHARES)
    shape = f"{knots} knots" if knots > 2 else "a straight line on the log-odds"
    return (
        Check(
            "events_for_validation",
            passed=enough,
            value=ADVISED_EVENTS,
            text=f"{words} {ADVISED_EVENTS} events in the rarer class, as advised for validation.",
        ),
        Check("measures_defined", passed=not undefined, value=float(len(undefined)), text=said),
        Check(
            "replicates_defined",
            passed=share == 1,
            value=share,
            text=f"Every measure is defined in {math.floor(share * 100)}% of the bootstrap draws of people.",
        ),
        Check(
            "calibration_knots",
            passed=bent,
            value=float(knots),
            text=f"The smooth calibration curve has {shape}; {len(KNOT_SHARES)} knots were asked for.",
        ),
    )
