"""Weights that make two sides alike: propensity (logistic or boosted, cross-fitted or not) and entropy balancing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.frames import FEW
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Contrast
from evalkit.core.faults import is_finite, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.people.entropy_balancing import EntropyOptions, fit_entropy_weights
from evalkit.estimators.people.logistic import add_intercept, find_redundant, fit_logistic, predict_logistic

Method = Literal["logistic", "boosted", "entropy"]
MIN_EFFECTIVE = 10.0  # people of a side, as effective sample size, below which nothing is estimated
MIN_EFFECTIVE_SHARE = 0.1
MAX_SHARE_OUTSIDE = 0.05
MAX_SHARE_OF_ONE = 0.1
BOOSTED_FOLDS = 5


@dataclass(frozen=True)
class WeightOptions:
    """How to weight.

    Attributes
    ----------
    estimand : ATT and ATC weigh one side to be like the other, ATE both to be like all, ATO both to be like those
        who might have been on either side (Li, Morgan and Zaslavsky 2018, JASA 113:390)
    folds : 0 fits the propensity to everybody; K >= 2 gives each person a propensity from a fit to the other folds.
        Boosting is cross-fitted always, with `BOOSTED_FOLDS` if 0 is given.
    trim : people with a propensity outside [trim, 1 - trim] are dropped (Crump and others 2009, Biometrika 96:187)
    truncate : weights above this quantile, from 0.5 to 1, are set to it: over the side that is weighted for ATT and
        ATC, over all for ATE and ATO
    stabilise : "marginal" multiplies ATE weights by the share of the person's side (Robins, Hernan and Brumback
        2000, Epidemiology 11:550)
    moments : 2 makes entropy balancing balance squares too
    """

    method: Method = "logistic"
    estimand: Contrast = "ATT"
    folds: int = 0
    trim: float | None = None
    truncate: float | None = None
    stabilise: Literal["none", "marginal"] = "none"
    moments: Literal[1, 2] = 1


@dataclass(frozen=True)
class BalancingWeights:
    """Weights of n people, 0 for those dropped. Sampling weights are NOT in them: multiply by `comparison.sampling`.

    Attributes
    ----------
    weights, propensity : float arrays, shape (n,); the propensity is NaN with entropy balancing
    kept : bool array, shape (n,), False for people who were trimmed
    checks : overlap, effective sample size and every change to the estimand
    """

    weights: np.ndarray
    propensity: np.ndarray
    kept: np.ndarray
    options: WeightOptions
    checks: tuple[Check, ...]


def build_weights(
    comparison: Comparison, *, options: WeightOptions = WeightOptions(), rng: np.random.Generator | None = None
) -> BalancingWeights:
    """Balancing weights of a comparison, with WeightIt's conventions.

    With propensity e: ATT 1 and e/(1-e); ATC (1-e)/e and 1; ATE 1/e and 1/(1-e); ATO 1-e and e. The propensity is
    fitted with sampling weights and without penalty; covariates that are combinations of others are left out of the
    model, which changes no propensity, and named in a check. It is not fitted again after trimming.

    Raises
    ------
    ParameterError
        Options that are out of range or do not go together; folds or boosting without `rng`.
    NotEstimable
        A covariate separates the sides; no one on one side is within the other's range of propensities; no entropy
        weights exist; weights leave a side fewer than `MIN_EFFECTIVE` effective people.

    References
    ----------
    Rosenbaum and Rubin 1983, Biometrika 70:41; Li, Morgan and Zaslavsky 2018, table 1; Greifer, WeightIt.
    """
    _check_options(options, rng)
    n = len(comparison)
    if options.method == "entropy":
        entropy = EntropyOptions(moments=options.moments)
        weights = fit_entropy_weights(comparison, contrast=options.estimand, options=entropy)
        propensity, kept, checks = np.full(n, np.nan), np.ones(n, dtype=bool), []
    else:
        propensity, checks = _propensity(comparison, options, rng)
        checks += _check_support(comparison.treated, propensity, options.estimand)
        kept, trimmed = _trim(comparison, propensity, options)
        checks += trimmed
        weights = np.where(kept, compute_contrast_weights(comparison.treated, propensity, options.estimand), 0.0)
    if options.stabilise == "marginal":
        weights = weights * _side_share(comparison, kept)
    weights, truncated = _truncate(comparison.treated, weights, kept, options)
    checks += [*truncated, *_check_effective(comparison, weights)]
    return BalancingWeights(weights, propensity, kept, options, tuple(checks))


def compute_contrast_weights(treated: np.ndarray, propensity: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Weights (n,) from propensities (n,) strictly between 0 and 1 on the side that is weighted by their inverse.

    Raises ParameterError for a contrast that is not known.
    """
    if contrast not in get_args(Contrast):
        raise ParameterError(
            Fault("contrast", "this choice is not known", str(contrast), ", ".join(get_args(Contrast)))
        )
    own = np.where(treated, propensity, 1.0 - propensity)
    if contrast == "ATO":
        return 1.0 - own
    inverse = np.divide(1.0, own, out=np.full(len(own), np.inf), where=own > 0)
    if contrast == "ATE":
        return inverse
    fixed = treated if contrast == "ATT" else ~treated
    return np.where(fixed, 1.0, (1.0 - own) * np.where(fixed, 1.0, inverse))


def compute_effective_size(weights: np.ndarray) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2."""
    total = float((weights**2).sum())
    return float(weights.sum()) ** 2 / total if total > 0 else 0.0


def assign_folds(comparison: Comparison, folds: int, rng: np.random.Generator) -> np.ndarray:
    """A fold 0 to `folds` - 1 for each person, int (n,): clusters whole, treated and others spread evenly."""
    _, cluster = np.unique(comparison.cluster, return_inverse=True)
    any_treated = np.zeros(cluster.max() + 1, dtype=bool)
    any_treated[cluster[comparison.treated]] = True
    place = np.empty(len(any_treated), dtype=np.int64)
    for kind in (any_treated, ~any_treated):
        place[rng.permutation(np.flatnonzero(kind))] = np.arange(kind.sum())
    return (place % folds)[cluster]


def estimate_propensity(
    comparison: Comparison,
    *,
    method: Literal["logistic", "boosted"] = "logistic",
    folds: int = 0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Probability of being treated, shape (n,); see `WeightOptions` for `folds` and `build_weights` for errors."""
    if method == "entropy":
        raise ParameterError(Fault("method", "entropy balancing has no propensity", method, "logistic, boosted"))
    options = WeightOptions(method=method, folds=folds)
    _check_options(options, rng)
    return _propensity(comparison, options, rng)[0]


def _propensity(
    comparison: Comparison, options: WeightOptions, rng: np.random.Generator | None
) -> tuple[np.ndarray, list[Check]]:
    x, names, checks = _design(comparison)
    y, sampling = comparison.treated.astype(np.float64), comparison.sampling
    if options.method == "logistic" and not options.folds:
        return predict_logistic(x, fit_logistic(x, y, weights=sampling, names=names)), checks
    fold = assign_folds(comparison, options.folds or BOOSTED_FOLDS, rng)
    propensity = np.empty(len(y))
    for k in np.unique(fold):
        train, held = fold != k, fold == k
        if np.ptp(y[train]) == 0:
            raise NotEstimable(Fault("folds", "a fold holds all clusters of one side, so that no model is left for it",
                                     next_step="Use no folds, or smaller clusters."))  # fmt: skip
        if options.method == "logistic":
            kept = ~find_redundant(x[train])
            named = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
            fitted = fit_logistic(x[train][:, kept], y[train], weights=sampling[train], names=named)
            propensity[held] = predict_logistic(x[held][:, kept], fitted)
        else:
            propensity[held] = _boost(x[train], y[train], sampling[train], x[held], rng)
    return propensity, checks


def _boost(
    x: np.ndarray, y: np.ndarray, sampling: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=150, max_leaf_nodes=8, l2_regularization=1.0, early_stopping=False,
        random_state=int(rng.integers(2**31)),
    )  # fmt: skip
    return model.fit(x, y, sample_weight=sampling).predict_proba(wanted)[:, 1]


def _design(comparison: Comparison) -> tuple[np.ndarray, tuple[str, ...], list[Check]]:
    """Intercept and covariates that are not combinations of others, their names, and a check that says so."""
    x = add_intercept(comparison.covariates)
    names = ("(Intercept)", *comparison.names)
    redundant = find_redundant(x)
    if not redundant.any():
        return x, names, []
    left = ", ".join(name for name, out in zip(names, redundant, strict=True) if out)
    text = f"Constant, or combinations of other covariates, and so not in the propensity model: {left}."
    kept = tuple(name for name, out in zip(names, redundant, strict=True) if not out)
    return x[:, ~redundant], kept, [Check("redundant_covariates", None, float(redundant.sum()), text)]


def _check_options(options: WeightOptions, rng: np.random.Generator | None) -> None:
    o, faults = options, []
    for name, kinds in (("method", Method), ("estimand", Contrast)):
        if getattr(o, name) not in get_args(kinds):
            faults.append(Fault(name, "this choice is not known", str(getattr(o, name)), ", ".join(get_args(kinds))))
    if whole_faults("folds", o.folds, least=0) or o.folds == 1:
        faults.append(Fault("folds", "out of range", str(o.folds), "0, or 2 and more"))
    if o.trim is not None and not (is_finite(o.trim) and 0 < o.trim < 0.5):
        faults.append(Fault("trim", "out of range", str(o.trim), "above 0 and below 0.5"))
    if o.truncate is not None and not (is_finite(o.truncate) and 0.5 <= o.truncate < 1):
        faults.append(Fault("truncate", "out of range", str(o.truncate), "0.5 and more, below 1"))
    if o.stabilise not in ("none", "marginal"):
        faults.append(Fault("stabilise", "this choice is not known", str(o.stabilise), "none, marginal"))
    elif o.stabilise == "marginal" and o.estimand != "ATE":
        faults.append(Fault("stabilise", "only weights for the ATE are stabilised", o.estimand, "none"))
    if o.method == "entropy" and (o.folds or o.trim is not None):
        faults.append(Fault("method", "entropy balancing has no propensity: folds and trim do not go with it"))
    if o.folds or o.method == "boosted":
        faults += rng_faults(rng)
    refuse(faults)


def tell_share(share: float, count: int) -> str:
    """A share of people for the beginning of a text, which must not give away a count below `FEW`."""
    return "None" if count == 0 else f"{share:.1%}" if count >= FEW else f"Fewer than {FEW}"


def hide_few(value: float, count: int) -> float:
    """The value of a check, NaN where it would give away a count below `FEW`."""
    return float(value) if count == 0 or count >= FEW else float("nan")


def _check_support(treated: np.ndarray, propensity: np.ndarray, contrast: Contrast) -> list[Check]:
    """Refuse sides that do not meet; say how many are beyond the range of the other side."""
    one, nought = propensity[treated], propensity[~treated]
    low, high = max(one.min(), nought.min()), min(one.max(), nought.max())
    if not ((one <= high).any() and (nought >= low).any()) or low > high:
        raise NotEstimable(
            Fault("overlap", "nobody on one side has a propensity within the other side's range",
                  next_step="The sides cannot be compared on these covariates.")
        )  # fmt: skip
    outside = {"ATT": treated & (propensity > high), "ATC": ~treated & (propensity < low)}.get(
        contrast, (treated & (propensity > high)) | (~treated & (propensity < low))
    )
    whose = {"ATT": treated, "ATC": ~treated}.get(contrast, np.ones(len(treated), dtype=bool))
    count, share = int(outside.sum()), float(outside.sum() / whose.sum())
    enough = None if contrast == "ATO" else share <= MAX_SHARE_OUTSIDE  # overlap weights leave such people out
    return [
        Check("common_support", enough, hide_few(share, count),
              f"{tell_share(share, count)} of those whose effect is wanted have a propensity beyond the other side's; "
              f"at most {MAX_SHARE_OUTSIDE:.0%} is wanted.")
    ]  # fmt: skip


def _trim(comparison: Comparison, propensity: np.ndarray, options: WeightOptions) -> tuple[np.ndarray, list[Check]]:
    """Who is kept (n,), and the check that says that the estimand changed."""
    if options.trim is None:
        return np.ones(len(propensity), dtype=bool), []
    kept = (propensity >= options.trim) & (propensity <= 1 - options.trim)
    if not (kept & comparison.treated).any() or not (kept & ~comparison.treated).any():
        raise NotEstimable(Fault("trim", "trimming leaves nobody on one side", str(options.trim)))
    count = int((~kept).sum())
    text = f"{'Some' if count else 'None'} had a propensity outside {options.trim:g} to {1 - options.trim:g}"
    text += " and were dropped: the effect is of those who are left." if count else "."
    return kept, [Check("trimmed", count == 0, hide_few(count, count), text)]


def _truncate(
    treated: np.ndarray, weights: np.ndarray, kept: np.ndarray, options: WeightOptions
) -> tuple[np.ndarray, list[Check]]:
    """Weights with the largest set to a quantile, and the check that says for how many."""
    if options.truncate is None:
        return weights, []
    weighted = kept & {"ATT": ~treated, "ATC": treated}.get(options.estimand, True)
    limit = float(np.quantile(weights[weighted], options.truncate))
    cut = weighted & (weights > limit)
    count = int(cut.sum())
    text = f"{'Some' if count else 'No'} weights were set to the quantile {options.truncate:g}"
    text += ": the sides are less alike, and the effect is not quite of the population named." if count else "."
    return np.where(cut, limit, weights), [Check("truncated", count == 0, hide_few(count, count), text)]


def _side_share(comparison: Comparison, kept: np.ndarray) -> np.ndarray:
    """Share of each person's own side among those kept, shape (n,)."""
    share = float(np.average(comparison.treated[kept], weights=comparison.sampling[kept]))
    return np.where(comparison.treated, share, 1 - share)


def _check_effective(comparison: Comparison, weights: np.ndarray) -> list[Check]:
    """Refuse weights that rest on hardly anybody; say how much of the sample is left and what one person weighs."""
    checks = []
    for name, side in (("treated", comparison.treated), ("comparison", ~comparison.treated)):
        w = weights[side] * comparison.sampling[side]
        used = int((w > 0).sum())
        size = compute_effective_size(w) if np.isfinite(w).all() else 0.0
        if size < MIN_EFFECTIVE:
            raise NotEstimable(
                Fault(name, "after weighting hardly anybody is left to compare with",
                      f"an effective sample of fewer than {MIN_EFFECTIVE:g}", f"{MIN_EFFECTIVE:g} or more",
                      "Drop covariates that hardly matter, or estimate the effect in the overlap (ATO).")
            )  # fmt: skip
        share, top = size / used, float(w.max() / w.sum())
        checks.append(
            Check(f"effective_sample_{name}", share >= MIN_EFFECTIVE_SHARE, size,
                  f"The effective sample of the {name} side is {share:.0%} of its people; "
                  f"{MIN_EFFECTIVE_SHARE:.0%} or more is wanted.")
        )  # fmt: skip
        checks.append(
            Check(f"largest_weight_{name}", top <= MAX_SHARE_OF_ONE, top,
                  f"Whoever weighs most carries {top:.1%} of the weight of the {name} side; "
                  f"{MAX_SHARE_OF_ONE:.0%} or less is wanted.")
        )  # fmt: skip
    return checks
