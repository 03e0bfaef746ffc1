"""What `estimate_effect` refuses before it computes anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.frames import FEW
from evalkit.core.errors import Fault, NotEstimable, suggest_name
from evalkit.core.estimand import Contrast, Estimand
from evalkit.core.faults import level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.people.weighting import MAX_SHARE_OUTSIDE, hide_few, tell_share

if TYPE_CHECKING:
    from evalkit.estimators.people.person_effects import EffectOptions

RISKS = ("risk_difference", "risk_ratio", "odds_ratio")
MEANS = ("mean_difference", "events_per_person", "days_per_person")
ALL = ("ATT", "ATC", "ATE", "ATO")
# What each method can do: contrasts, scales.
SUPPORTED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gcomp": (ALL, (*RISKS, "rate_ratio", *MEANS)),
    "ipw": (ALL, (*RISKS, "rate_ratio", *MEANS)),
    "aipw": (ALL, (*RISKS, "rate_ratio", *MEANS)),
    "tmle": (("ATT", "ATC", "ATE"), (*RISKS, *MEANS)),
    "did_gcomp": (("ATT",), ("risk_difference", "rate_ratio", *MEANS)),
    "did_ipw": (("ATT",), ("risk_difference", "rate_ratio", *MEANS)),
    "did_aipw": (("ATT",), ("risk_difference", "rate_ratio", *MEANS)),
}
MIN_CLUSTERS = 2
CROSS_FITTED = ("aipw", "tmle", "did_aipw")


def check_request(
    comparison: Comparison, estimand: Estimand, options: EffectOptions, rng: np.random.Generator | None
) -> None:
    """Refuse, with all faults at once, what the method cannot do and options that do not go together."""
    o = options
    if o.method not in SUPPORTED:
        refuse([Fault("method", "there is no such method", str(o.method), ", ".join(SUPPORTED),
                      suggest_name(str(o.method), list(SUPPORTED)))])  # fmt: skip
    contrasts, scales = SUPPORTED[o.method]
    faults = []
    if estimand.contrast not in contrasts:
        faults.append(Fault("contrast", f"{o.method} does not estimate it", estimand.contrast, ", ".join(contrasts)))
    if estimand.scale not in scales:
        faults.append(Fault("scale", f"{o.method} does not have it", estimand.scale, ", ".join(scales)))
    choices = {
        "outcome_model": ("by_scale", "linear", "logistic", "poisson", "boosted"),
        "errors": ("influence", "efficient", "bootstrap"),
        "correction": ("none", "clusters", "leverage", "jackknife"),
    }
    for name, allowed in choices.items():
        if getattr(o, name) not in allowed:
            faults.append(Fault(name, "this choice is not known", str(getattr(o, name)), ", ".join(allowed)))
    faults += _check_numbers(o)
    faults += _check_combination(comparison, estimand, o)
    trees = o.method not in ("gcomp", "did_gcomp") and (o.weights.method == "boosted" or o.weights.folds > 0)
    drawn = o.folds or trees or o.errors == "bootstrap" or o.outcome_model == "boosted"
    if drawn:
        faults += rng_faults(rng)
    refuse(faults)


def _check_numbers(o: EffectOptions) -> list[Fault]:
    faults = []
    if whole_faults("folds", o.folds, least=0) or o.folds == 1:
        faults.append(Fault("folds", "out of range", str(o.folds), "0, or 2 and more"))
    faults += level_faults(o.level)
    if o.errors == "bootstrap" and whole_faults("replicates", o.replicates, least=100):
        faults.append(Fault("replicates", "too few for a standard error", str(o.replicates), "100 or more"))
    ends = o.bounds
    if ends is not None and not (len(ends) == 2 and np.isfinite(ends).all() and ends[0] < ends[1]):
        faults.append(Fault("bounds", "the lowest value must be below the highest, both finite", str(o.bounds)))
    return faults


def _check_combination(comparison: Comparison, estimand: Estimand, o: EffectOptions) -> list[Fault]:
    w, faults = o.weights, []
    models_outcome, weighs = o.method not in ("ipw", "did_ipw"), o.method not in ("gcomp", "did_gcomp")
    if o.folds and o.method not in CROSS_FITTED:
        faults.append(Fault("folds", "only these methods are cross-fitted", o.method, ", ".join(CROSS_FITTED)))
    if models_outcome and o.outcome_model == "boosted" and not (o.folds and o.method in CROSS_FITTED):
        faults.append(Fault("outcome_model", "trees need cross-fitting", "boosted",
                            f"method {', '.join(CROSS_FITTED)} with folds of 2 or more"))  # fmt: skip
    if o.method in CROSS_FITTED and (w.method == "boosted" or w.folds) and not o.folds:
        faults.append(Fault("folds", "a cross-fitted propensity needs a cross-fitted outcome model", "0", "2 or more"))
    if o.folds and w.folds not in (0, o.folds):
        faults.append(Fault("folds", "the propensity has another number of folds", str(w.folds), str(o.folds)))
    if w.method == "entropy" and o.method not in ("ipw", "did_ipw") and weighs:
        faults.append(Fault("weights", "entropy balancing goes with ipw and did_ipw", o.method))
    if w.stabilise != "none" and o.method != "ipw":
        faults.append(Fault("weights", "only ipw takes stabilised weights", o.method, 'stabilise="none"'))
    if not weighs and (w.trim is not None or w.truncate is not None):
        faults.append(Fault("weights", "g-computation has no weights to trim or truncate", o.method))
    if o.errors == "bootstrap" and (o.folds or w.method != "logistic" or w.folds or w.truncate is not None):
        faults.append(Fault("errors", "the bootstrap goes with a logistic propensity, without folds and truncation"))
    if o.errors == "efficient" and o.method in ("gcomp", "ipw", "did_gcomp", "did_ipw"):
        faults.append(Fault("errors", "the efficient influence function needs both models", o.method, "influence"))
    if not isinstance(o.interactions, tuple) and o.interactions not in ("none", "all"):
        faults.append(Fault("interactions", "this choice is not known", str(o.interactions), "none, all, or names"))
    elif isinstance(o.interactions, tuple):
        faults += [
            Fault("interactions", f'there is no covariate "{name}"', next_step=suggest_name(name, comparison.names))
            for name in o.interactions if name not in comparison.names
        ]  # fmt: skip
    if comparison.outcome is None:
        faults.append(Fault("outcome", "the comparison has none", next_step="Build it with outcome=..."))
    if o.method.startswith("did_") and comparison.before is None:
        faults.append(Fault("before", f"{o.method} needs the same outcome in a time before",
                            next_step="Build the comparison with before=..."))  # fmt: skip
    exposed = estimand.scale == "rate_ratio" and comparison.person_time is not None
    if exposed and models_outcome and o.outcome_model in ("linear", "logistic"):
        faults.append(Fault("outcome_model", "a rate over person-time needs its logarithm as offset",
                            o.outcome_model, "poisson or boosted"))  # fmt: skip
    return faults


def check_outcome(comparison: Comparison, estimand: Estimand, options: EffectOptions) -> None:
    """Refuse outcomes that the scale or the model cannot have or that do not vary, few events, and one cluster.

    Raises ParameterError for the first, NotEstimable for the others; counts below 10 are not shown.
    """
    columns = {"outcome": comparison.outcome}
    if options.method.startswith("did_"):
        columns["before"] = comparison.before
    if np.isfinite(comparison.sampling).all() and (comparison.sampling > 0).all():
        faults = []
    else:
        faults = [Fault("sampling", "weights must be finite and positive")]
    for name, y in columns.items():
        if not np.isfinite(y).all():
            faults.append(Fault(name, "some values are missing or infinite"))
            continue
        if estimand.scale in RISKS and not np.isin(y, (0, 1)).all():
            faults.append(Fault(name, f"{estimand.scale} needs an outcome of 0 and 1", allowed="0 and 1"))
        elif options.outcome_model == "logistic" and (y.min() < 0 or y.max() > 1):
            faults.append(Fault(name, "a logistic model needs an outcome from 0 to 1"))
        if (estimand.scale == "rate_ratio" or options.outcome_model == "poisson") and y.min() < 0:
            faults.append(Fault(name, "a count cannot be negative"))
        low, high = options.bounds or (-np.inf, np.inf)
        if options.method == "tmle" and (y.min() < low or y.max() > high):
            faults.append(Fault(name, "some values are outside the bounds", str(options.bounds)))
    refuse(faults)
    _refuse_thin(comparison, estimand, columns)


def check_extrapolation(comparison: Comparison, contrast: Contrast) -> Check:
    """How many of those whose effect is wanted lie beyond what the other side's outcomes were modelled on.

    G-computation has no weights that would show it. NotEstimable where the sides do not meet in a covariate.
    """
    x, t = comparison.covariates, comparison.treated
    low, high = (np.stack([f(x[side], axis=0) for side in (t, ~t)]) for f in (np.min, np.max))
    apart = np.flatnonzero(low.max(axis=0) > high.min(axis=0))
    if len(apart):
        raise NotEstimable([
            Fault(comparison.names[j], "nobody on one side has a value within the other side's range",
                  next_step="A model would only extrapolate: the sides cannot be compared.") for j in apart
        ])  # fmt: skip
    beyond = [((x < low[other]) | (x > high[other])).any(axis=1) & side for side, other in ((t, 1), (~t, 0))]
    wanted = {"ATT": (t, beyond[0]), "ATC": (~t, beyond[1])}
    whose, outside = wanted.get(contrast, (np.ones(len(t), dtype=bool), beyond[0] | beyond[1]))
    count, share = int(outside.sum()), float(outside.sum() / whose.sum())
    text = f"{tell_share(share, count)} of those whose effect is wanted have a characteristic beyond the other side's "
    text += f"range, where the model extrapolates; at most {MAX_SHARE_OUTSIDE:.0%} is wanted."
    return Check("extrapolation", share <= MAX_SHARE_OUTSIDE, hide_few(share, count), text)


def count_events(comparison: Comparison, estimand: Estimand) -> float:
    """Events behind an effect: people with the event, or the sum of a count; NaN for other outcomes."""
    y = comparison.outcome
    counted = np.isin(y, (0, 1)).all() or estimand.scale in ("rate_ratio", "events_per_person")
    return float(y.sum()) if counted else math.nan


def _refuse_thin(comparison: Comparison, estimand: Estimand, columns: dict[str, np.ndarray]) -> None:
    faults = []
    for name, y in columns.items():
        binary = bool(np.isin(y, (0, 1)).all())
        if binary or estimand.scale in ("rate_ratio", "events_per_person"):
            if y.sum() < FEW:
                faults.append(Fault(name, f"there are fewer than {FEW} events", allowed=f"{FEW} or more"))
            elif binary and (1 - y).sum() < FEW:
                faults.append(Fault(name, f"fewer than {FEW} people are without the event", allowed=f"{FEW} or more"))
        for side, rows in (("treated", comparison.treated), ("comparison", ~comparison.treated)):
            if np.ptp(y[rows]) == 0 and (name == "outcome" or estimand.scale == "rate_ratio"):
                faults.append(Fault(name, f"it is the same for everybody on the {side} side",
                                    next_step="Nothing can be modelled or compared there."))  # fmt: skip
    for side, rows in (("treated", comparison.treated), ("comparison", ~comparison.treated)):
        if len(np.unique(comparison.cluster[rows])) < MIN_CLUSTERS:
            faults.append(Fault("cluster", f"everybody on the {side} side is in one cluster, so that no error is known",
                                next_step="Compare areas, not people."))  # fmt: skip
    if faults:
        raise NotEstimable(faults)
