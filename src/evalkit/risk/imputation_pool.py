"""One answer out of several imputed sets: a person's risk, and measures of performance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from evalkit.core.errors import Fault
from evalkit.core.faults import refuse
from evalkit.core.result import Check
from evalkit.estimators.people.rubin import IMPUTATIONS_PER_FMI, PooledEstimate, compute_pooled
from evalkit.risk.arrays import risk_faults
from evalkit.risk.data import RiskData
from evalkit.risk.imputation import ImputedDevelopment
from evalkit.risk.measures import MEASURES
from evalkit.risk.optimism import Optimism, OptimismInterval, estimate_optimism
from evalkit.risk.refit import RefittedModels, Rows
from evalkit.risk.validate import RiskPerformance


class PooledRisks(NamedTuple):
    """Risks (n,) averaged over imputations, and their standard deviation between imputations (n,)."""

    risk: np.ndarray
    spread: np.ndarray


class Scale(NamedTuple):
    """A scale on which a measure is nearly normal: there, its slope, and back."""

    apply: Callable[[float], float]
    slope: Callable[[float], float]
    invert: Callable[[float], float]


_LOGIT = Scale(lambda v: math.log(v / (1 - v)), lambda v: 1 / (v * (1 - v)), lambda s: 1 / (1 + math.exp(-s)))
_LOG = Scale(math.log, lambda v: 1 / v, math.exp)
_LOG_REST = Scale(lambda v: math.log(1 - v), lambda v: -1 / (1 - v), lambda s: 1 - math.exp(s))
_PLAIN = Scale(float, lambda _: 1.0, float)
_SCALES: dict[str, Scale] = {
    **dict.fromkeys(("auroc", "auprc"), _LOGIT),
    **dict.fromkeys(("observed_expected", "brier", "log_loss", "ici", "e50", "e90", "emax"), _LOG),
    "scaled_brier": _LOG_REST,
}


def pool_risks(risks: Sequence[np.ndarray]) -> PooledRisks:
    """A person's risk from those of m imputed sets: their mean as probabilities.

    Where values are missing the risk of the outcome given what is known is the mean of the risks over what the missing
    values may be; averaged as log-odds it would be too extreme (Mertens, Banzato and de Wreede 2020, Biom J 62:724).
    The spread says how much a risk hangs on values that nobody recorded. `risks` are m arrays (n,), m 2 or more.

    >>> pool_risks([np.array([0.1, 0.5]), np.array([0.3, 0.5])]).risk.round(3).tolist()
    [0.2, 0.5]
    """
    faults = [] if len(risks) > 1 else [Fault("risks", "too few imputations to pool", f"{len(risks)}", "2 or more")]
    faults += [fault for risk in risks for fault in risk_faults(risk, np.zeros(len(risks[0])))][:3]
    refuse(faults)
    stacked = np.asarray(risks, dtype=np.float64)
    return PooledRisks(stacked.mean(axis=0), stacked.std(axis=0, ddof=1))


def pool_refits(refits: Sequence[RefittedModels]) -> RefittedModels:
    """The models of m imputed sets, refitted to the same weightings, as models that give the mean of their m risks.

    What works with `RefittedModels` (optimism, cross-validation, instability) then works for a model with imputation.
    Fails with `ParameterError` where there are fewer than two, or they differ in draws or number of discharges.
    """
    faults = [] if len(refits) > 1 else [Fault("refits", "too few imputations to pool", f"{len(refits)}", "2 or more")]
    if any(r.n_rows != refits[0].n_rows or not np.array_equal(r.counts, refits[0].counts) for r in refits[1:]):
        step = "Draw counts once, and refit each imputed set to them."
        faults.append(Fault("refits", "they differ in their draws or discharges", next_step=step))
    refuse(faults)
    reasons = tuple(next((said for said in row if said), "") for row in zip(*(r.reasons for r in refits), strict=True))

    def predict(models: slice, rows: Rows) -> np.ndarray:
        return sum(r.predict(models, rows) for r in refits) / len(refits)

    return RefittedModels(np.mean([r.original for r in refits], axis=0), refits[0].counts, reasons, predict)


def estimate_imputed_optimism(
    development: ImputedDevelopment,
    refit: Callable[[RiskData], RefittedModels],
    *,
    level: float = 0.95,
    names: Sequence[str] = MEASURES,
    interval: OptimismInterval = "centred",
) -> Optimism:
    """`estimate_optimism` of the model with imputation, its risks averaged over the imputed sets.

    `refit(set)` refits the model to bootstrap draws of one imputed set; the draws must be the same for all. Measured,
    on their draw and on everybody, are the risks averaged over the sets, as a person would be given them.

    Imputing anew within every draw would be honest in all (Musoro et al. 2014, BMC Med Res Methodol 14:116, compare
    the two) and takes B times as long. Here imputation models have seen everybody: what they learnt too well of a
    draw is not found out. They hold no outcome where it is left out, so that what they take off the optimism is small
    (in our worlds of 300 discharges, two of six predictors with half missing, less than the Monte-Carlo error of
    0.004 in the AUROC); imputed with the outcome the corrected value is too good, by more the more is missing (Wahl et
    al. 2016, BMC Med Res Methodol 16:144), which the check `imputed_without_outcome` says. Fails as `estimate_optimism`
    and `pool_refits`.
    """
    found = estimate_optimism(
        pool_refits([refit(data) for data in development.sets]), development.sets[0].outcome,
        level=level, names=names, interval=interval,
    )  # fmt: skip
    without = development.models.options.outcome == "left_out" or development.models.kept is None
    text = (
        "Missing values were imputed once, not anew in each draw, and without looking at outcomes."
        if without
        else "Missing values were imputed with the outcome: corrected values are too good."
    )
    check = Check("imputed_without_outcome", passed=without, value=float(len(development.sets)), text=text)
    return replace(found, checks=(*found.checks, check))


def pool_performance(performances: Sequence[RiskPerformance]) -> RiskPerformance:
    """The performances in m imputed sets of the same discharges as one, by Rubin's rules.

    Pooled as logits: AUROC, AUPRC; as logs: observed over expected, Brier score, log loss, ICI, E50, E90, Emax; as log
    of 1 less it: scaled Brier; as they are: calibration intercept and slope. Errors go there and back by the delta
    method; intervals, from t, go back by the inverse (Marshall et al. 2009, BMC Med Res Methodol 9:57; Debray et al.
    2019, Stat Methods Med Res 28:2768). A measure that any set lacks, or lacks an error of, is NaN. Discharges,
    people and events are those of the first, which all have.

    For the performance had every value been recorded, the sets must have been imputed with the outcome (Wood, Royston
    and White 2015, Biom J 57:614): `impute_development(validation, options=...("used_in_development")).sets`.
    Without it the AUROC comes out too low; then pool risks instead and validate these.

    Fails with `ParameterError` where there are fewer than two, or they differ in measures, level or discharges.
    """
    refuse(_unlike_faults(performances))
    first = performances[0]
    rows, shares = [], []
    for place, name in enumerate(first.names):
        scale = _SCALES.get(name, _PLAIN)
        pooled = _pool(
            scale, [p.values[place] for p in performances], [p.se[place] for p in performances], first.level
        )  # fmt: skip
        rows.append((math.nan,) * 4 if pooled is None else _back(scale, pooled))
        shares.append(math.nan if pooled is None else float(pooled.fmi))
    value, se, lower, upper = (tuple(column) for column in zip(*rows, strict=True))
    checks = (*_join(performances), _enough(first.names, shares, len(performances)))
    return replace(first, values=value, se=se, lower=lower, upper=upper, checks=checks)


def _pool(scale: Scale, values: Sequence[float], errors: Sequence[float], level: float) -> PooledEstimate | None:
    """On the measure's scale; None where it has no place there, or no error."""
    defined = all(math.isfinite(v) and math.isfinite(e) and e > 0 for v, e in zip(values, errors, strict=True))
    if not defined or (scale is _LOGIT and not all(0 < v < 1 for v in values)):
        return None
    if (scale is _LOG and min(values) <= 0) or (scale is _LOG_REST and max(values) >= 1):
        return None
    there = np.array([scale.apply(v) for v in values])
    variances = np.array([(scale.slope(v) * e) ** 2 for v, e in zip(values, errors, strict=True)])
    return compute_pooled(there, variances, level=level)


def _back(scale: Scale, pooled: PooledEstimate) -> tuple[float, float, float, float]:
    """Value, standard error, lower and upper end on the measure's own scale."""
    value = scale.invert(float(pooled.value))
    ends = sorted(scale.invert(float(end)) for end in (pooled.lower, pooled.upper))
    return value, float(pooled.se) / abs(scale.slope(value)), ends[0], ends[1]


def _join(performances: Sequence[RiskPerformance]) -> tuple[Check, ...]:
    """One check a name: that of the first set in which it failed, else of the first."""
    joined = {}
    for check in (c for p in performances for c in p.checks):
        if check.name not in joined or (check.passed is False and joined[check.name].passed is not False):
            joined[check.name] = check
    return tuple(joined.values())


def _enough(names: Sequence[str], shares: Sequence[float], imputations: int) -> Check:
    """Whether there are enough imputations for the measure that hangs most on missing values."""
    known = [(share, name) for share, name in zip(shares, names, strict=True) if math.isfinite(share)]
    if not known:
        return Check("imputations", None, math.nan, "No measure could be pooled.")
    share, name = max(known)
    needed = max(2, math.ceil(IMPUTATIONS_PER_FMI * share))
    text = f"Missing values take up to {share:.0%} of the information ({name}); {imputations} imputations were made, "
    return Check("imputations", imputations >= needed, share, text + f"{needed} or more are wanted.")


def _unlike_faults(performances: Sequence[RiskPerformance]) -> list[Fault]:
    if len(performances) < 2:
        return [Fault("imputations", "too few to pool", f"{len(performances)}", "2 or more")]
    kinds = {
        "measures": {p.names for p in performances},
        "level": {p.level for p in performances},
        "discharges": {(p.n_discharges, p.n_people, p.n_events) for p in performances},
    }
    return [Fault("imputations", f"they differ in their {what}") for what, held in kinds.items() if len(held) > 1]
