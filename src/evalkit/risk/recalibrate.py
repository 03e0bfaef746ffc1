"""Fit a developed model's risks to another place or time: not at all, in the large, by a line, or anew.

The least change that the data support is chosen by closed testing, so that a small sample cannot throw a developed
model away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.risk.arrays import refuse_few, risk_faults
from evalkit.risk.validate import LogisticFit, fit_logistic

RecalibrationMethod = Literal["none", "intercept", "slope", "reestimate"]
METHODS: tuple[RecalibrationMethod, ...] = ("none", "intercept", "slope", "reestimate")
METHOD_LABELS: dict[RecalibrationMethod, str] = {
    "none": "As developed",
    "intercept": "Intercept updated",
    "slope": "Intercept and slope updated",
    "reestimate": "Coefficients re-estimated",
}

# A column of which less than this share is its own counts as a sum of others: risks in files are rounded.
_SUM = 1e-5


@dataclass(frozen=True)
class RecalibrationOptions:
    """`level` of intervals; 1 - `level` is the size of each test. `min_events_per_parameter` gates "reestimate"."""

    level: float = 0.95
    min_events_per_parameter: float = 10.0


@dataclass(frozen=True, eq=False)
class Recalibration:
    """log-odds(new risk) = (offset, the log-odds of the risk, where `method` is none or intercept) + terms.

    `terms`, `coefficients`, `se`, `lower`, `upper` (k,): "intercept", "slope" (of the old log-odds), and "x0", "x1",
    ... the columns `kept` of the design. Errors are summed by person.
    """

    method: RecalibrationMethod
    terms: tuple[str, ...]
    coefficients: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    kept: tuple[int, ...]
    level: float
    n_discharges: int
    n_people: int
    n_events: int


@dataclass(frozen=True)
class RecalibrationTest:
    """Whether `simpler` fits as well as the largest update: `statistic` on `df` degrees of freedom."""

    simpler: RecalibrationMethod
    statistic: float
    df: int
    p_value: float


@dataclass(frozen=True)
class RecalibrationChoice:
    """The `method` chosen, the `largest` update that it was held against, and the tests in their order."""

    method: RecalibrationMethod
    largest: RecalibrationMethod
    tests: tuple[RecalibrationTest, ...]
    checks: tuple[Check, ...]


def fit_recalibration(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    method: RecalibrationMethod,
    person: np.ndarray,
    design: np.ndarray | None = None,
    options: RecalibrationOptions = RecalibrationOptions(),
) -> Recalibration:
    """Update risks (n,), strictly between 0 and 1, to outcomes (n,) of a new place or time, by maximum likelihood.

    intercept : logit p' = a + logit p
    slope : logit p' = a + b logit p
    reestimate : logit p' = a + x g, x (n, k) the prepared predictors `design`, without those that others make up, and
        with b logit p where the old log-odds are no sum of them (a model that was no logistic regression).

    Intervals are normal, of errors summed by `person` (n,) with the factor G / (G - 1).

    Fails with `ParameterError` for malformed arrays, risks of exactly 0 or 1, unknown methods, "reestimate" without
    `design`; with `NotEstimable` for fewer than 10 discharges with the outcome, or without it, fewer than
    `options.min_events_per_parameter` a coefficient to "reestimate", and separation.
    """
    faults = choice_faults("fit_recalibration method", method, METHODS)
    if method == "reestimate" and design is None:
        faults.append(Fault("design", "is needed to re-estimate", next_step="Give the prepared predictors (n, k)"))
    refuse([*faults, *_faults(risk, outcome, person, design, options)])
    odds, outcome = logit(np.asarray(risk, dtype=np.float64)), np.asarray(outcome, dtype=np.float64)
    fewer, cluster = refuse_few(outcome), pd.factorize(np.asarray(person))[0]
    x, terms, kept = _terms(method, odds, design)
    if method == "reestimate":
        _refuse_hungry(fewer, x.shape[1], options)
    fit = None
    if x.shape[1]:
        fit = _fit(x, outcome, cluster, odds if method == "intercept" else np.zeros(len(odds)), METHOD_LABELS[method])
    coefficients = np.zeros(0) if fit is None else fit.coefficients
    se = np.zeros(0) if fit is None else np.sqrt(np.diag(fit.robust))
    reach = norm.ppf(0.5 + options.level / 2) * se
    return Recalibration(
        method, terms, coefficients, se, coefficients - reach, coefficients + reach, kept, options.level,
        len(odds), int(cluster.max()) + 1, int(outcome.sum()),
    )  # fmt: skip


def apply_recalibration(
    recalibration: Recalibration, risk: np.ndarray, *, design: np.ndarray | None = None
) -> np.ndarray:
    """Updated risks (m,) of risks (m,); "reestimate" needs the prepared predictors `design` (m, k) too.

    Fails with `ParameterError` for risks that are missing or not strictly between 0 and 1, or another design.
    """
    risk = np.asarray(risk)
    faults = _risk_only_faults(risk)
    if recalibration.method == "reestimate":
        width = max(recalibration.kept, default=-1) + 1
        fits = design is not None and np.ndim(design) == 2 and len(design) == len(np.atleast_1d(risk))
        if not fits or np.shape(design)[1] < width or not np.isfinite(np.asarray(design, dtype=np.float64)).all():
            faults.append(Fault("design", "does not match that of the recalibration", str(np.shape(design))))
    refuse(faults)
    if recalibration.method == "none":
        return risk.astype(np.float64)
    odds = logit(risk.astype(np.float64))
    columns = {"intercept": np.ones(len(odds)), "slope": odds}
    columns |= {f"x{k}": np.asarray(design, dtype=np.float64)[:, k] for k in recalibration.kept}
    linear = np.column_stack([columns[term] for term in recalibration.terms]) @ recalibration.coefficients
    return expit(linear + odds if recalibration.method == "intercept" else linear)


def choose_recalibration(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    design: np.ndarray | None = None,
    options: RecalibrationOptions = RecalibrationOptions(),
) -> RecalibrationChoice:
    """The least update that fits as well as the largest one: closed testing (Vergouwe et al. 2017, Stat Med 36:4529).

    In order, "none", "intercept" and "slope" are tested against re-estimation of all coefficients (against "slope"
    where there is no `design`, or fewer than `options.min_events_per_parameter` events a coefficient), each at
    1 - `options.level`; the first that is not rejected is chosen. The statistic is twice the difference of
    log-likelihoods, chi-square on the coefficients left out. Where people have several discharges it is divided by the
    mean design effect of those coefficients, tr(V^-1 R) / df, V their model-based variance and R that summed by person
    (Rao and Scott's first-order correction): without it repeats of a person pass for evidence.

    Fails as `fit_recalibration` does.
    """
    refuse(_faults(risk, outcome, person, design, options))
    odds, outcome = logit(np.asarray(risk, dtype=np.float64)), np.asarray(outcome, dtype=np.float64)
    fewer, cluster = refuse_few(outcome), pd.factorize(np.asarray(person))[0]
    full, checks = _full_design(odds, design, fewer, options)
    largest: RecalibrationMethod = "reestimate" if full.shape[1] > 2 else "slope"
    top = _fit(full, outcome, cluster, odds, METHOD_LABELS[largest])
    best = _log_likelihood(full @ top.coefficients + odds, outcome)
    people = int(cluster.max()) + 1
    if people < 2:
        raise NotEstimable(Fault("recalibration", "all discharges are one person's", allowed="2 people or more"))
    tests = []
    for count, simpler in enumerate(METHODS[: METHODS.index(largest)]):
        linear = odds
        if count:
            linear = full[:, :count] @ _fit(full[:, :count], outcome, cluster, odds, simpler).coefficients + odds
        df = full.shape[1] - count
        effect = np.linalg.solve(top.covariance[count:, count:], top.robust[count:, count:]).trace() / df
        statistic = max(2 * (best - _log_likelihood(linear, outcome)), 0.0) / (effect if people < len(cluster) else 1.0)
        tests.append(RecalibrationTest(simpler, statistic, df, float(chi2.sf(statistic, df))))
    kept = [test.simpler for test in tests if test.p_value > 1 - options.level]
    return RecalibrationChoice(kept[0] if kept else largest, largest, tuple(tests), checks)


def predict_recalibrated(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    method: RecalibrationMethod,
    person: np.ndarray,
    rng: np.random.Generator,
    folds: int = 10,
    design: np.ndarray | None = None,
    options: RecalibrationOptions = RecalibrationOptions(),
) -> np.ndarray:
    """Updated risks (n,), each from the update fitted to other people's discharges, to measure an update honestly.

    People, with all their discharges, are dealt into `folds` at random. Fails as `fit_recalibration` does, for every
    fold's others, and with `ParameterError` where there are fewer people than folds.
    """
    people, names = pd.factorize(np.asarray(person))
    faults = [*whole_faults("predict_recalibrated folds", folds, least=2), *rng_faults(rng)]
    refuse(faults or _faults(risk, outcome, person, design, options))
    if len(names) < folds:
        refuse([Fault("predict_recalibrated folds", "are more than there are people", str(folds))])
    held = (rng.permutation(len(names)) % folds)[people]
    risk, outcome, found = np.asarray(risk, dtype=np.float64), np.asarray(outcome), np.empty(len(people))
    x = None if design is None else np.asarray(design, dtype=np.float64)
    for fold in range(folds):
        out = held == fold
        update = fit_recalibration(
            risk[~out], outcome[~out], method=method, person=people[~out], options=options,
            design=None if x is None else x[~out],
        )  # fmt: skip
        found[out] = apply_recalibration(update, risk[out], design=None if x is None else x[out])
    return found


# ---- parts ---------------------------------------------------------------------------------------


def _terms(
    method: RecalibrationMethod, odds: np.ndarray, design: np.ndarray | None
) -> tuple[np.ndarray, tuple[str, ...], tuple[int, ...]]:
    """Columns (n, k) to fit, their names, and which of the design are among them."""
    ones = np.ones(len(odds))
    if method == "none":
        return np.empty((len(odds), 0)), (), ()
    if method == "intercept":
        return ones[:, None], ("intercept",), ()
    if method == "slope":
        return np.column_stack([ones, odds]), ("intercept", "slope"), ()
    x = np.column_stack([np.asarray(design, dtype=np.float64), odds])
    needed = _find_needed(x)
    kept = tuple(int(k) for k in np.flatnonzero(needed[:-1]))
    slope = ("slope",) if needed[-1] else ()
    return np.column_stack([ones, x[:, needed]]), ("intercept", *(f"x{k}" for k in kept), *slope), kept


def _find_needed(x: np.ndarray) -> np.ndarray:
    """Columns of x (n, k) that vary and are no sums of those before them, as far as risks in a file are exact."""
    centred = x - x.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0))
    basis, needed = np.zeros((len(x), 0)), size > _SUM * np.abs(x).max(axis=0, initial=0.0) * math.sqrt(len(x))
    for j in np.flatnonzero(needed):
        rest = centred[:, j] / size[j]
        for _ in range(2):  # twice is enough against rounding
            rest = rest - basis @ (basis.T @ rest)
        left = math.sqrt(rest @ rest)
        needed[j] = left > _SUM
        if needed[j]:
            basis = np.column_stack([basis, rest / left])
    return needed


def _full_design(
    odds: np.ndarray, design: np.ndarray | None, fewer: int, options: RecalibrationOptions
) -> tuple[np.ndarray, tuple[Check, ...]]:
    """Intercept, old log-odds and what the design adds to them, as far as there are events for it."""
    line = np.column_stack([np.ones(len(odds)), odds])
    if not _find_needed(odds[:, None])[0]:
        raise NotEstimable(Fault("recalibration", "the risks are the same for everybody", allowed="risks that differ"))
    if design is None:
        return line, ()
    whole = np.column_stack([odds, np.asarray(design, dtype=np.float64)])
    whole = np.column_stack([np.ones(len(odds)), whole[:, _find_needed(whole)]])
    needed = options.min_events_per_parameter * whole.shape[1]
    enough = fewer >= needed
    words = "enough" if enough else "too few"
    text = f"There are {words} events to re-estimate {whole.shape[1]} coefficients, {needed:g} needed."
    check = Check("events_to_reestimate", passed=enough, value=needed, text=text)
    return (whole if enough else line), (check,)


def _fit(x: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, offset: np.ndarray, what: str) -> LogisticFit:
    fit = fit_logistic(x, outcome, cluster=cluster, offset=offset)
    if fit is None:
        step = "Take a smaller update, or gather more discharges"
        raise NotEstimable(Fault(what, "no finite coefficients: the predictors separate the outcomes", next_step=step))
    return fit


def _refuse_hungry(fewer: int, parameters: int, options: RecalibrationOptions) -> None:
    needed = options.min_events_per_parameter * parameters
    if fewer < needed:
        what = "too few events to re-estimate all coefficients"
        allowed = f"at least {options.min_events_per_parameter:g} events a coefficient"
        raise NotEstimable(Fault("recalibration", what, allowed=allowed, next_step="Take a smaller update"))


def _log_likelihood(linear: np.ndarray, outcome: np.ndarray) -> float:
    return math.fsum(outcome * linear - np.logaddexp(0, linear))


def _risk_only_faults(risk: np.ndarray) -> list[Fault]:
    risk = np.asarray(risk)
    if risk.ndim != 1 or not len(risk) or risk.dtype.kind not in "biuf":
        return [Fault("risk", "must be numbers of shape (n,), n above 0", str(risk.shape))]
    if not np.all((risk > 0) & (risk < 1)):
        what = "is missing, or not strictly between 0 and 1, so that it has no log-odds"
        return [Fault("risk", what, allowed="probabilities above 0 and below 1")]
    return []


def _faults(
    risk: np.ndarray,
    outcome: np.ndarray,
    person: np.ndarray,
    design: np.ndarray | None,
    options: RecalibrationOptions,
) -> list[Fault]:
    faults = risk_faults(risk, outcome, person) or _risk_only_faults(risk)
    faults += level_faults(options.level)
    if not (is_finite(options.min_events_per_parameter) and options.min_events_per_parameter > 0):
        faults.append(
            Fault("min_events_per_parameter", "out of range", str(options.min_events_per_parameter), "above 0")
        )
    if design is not None:
        x, n = np.asarray(design), len(np.atleast_1d(risk))
        if x.ndim != 2 or len(x) != n or x.dtype.kind not in "biuf" or not np.isfinite(x).all():
            faults.append(Fault("design", "must be finite numbers of shape (n, k)", str(x.shape), f"({n}, k)"))
    return faults
