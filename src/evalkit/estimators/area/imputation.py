"""Effects by imputing untreated outcomes from two-way fixed effects (Borusyak, Jaravel and Spiess)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.result import Check
from evalkit.estimators.area.group_time import GroupTimeEffects, StaggeredOptions, Timing, build_effects, name_period

_CONDITION = 1e-10


@dataclass(frozen=True)
class ImputedEffects:
    """Effects of treated unit-periods and what averages of them rest on; J units, T periods, K covariates.

    Attributes
    ----------
    effect : float array, shape (J, T)
        Outcome less its imputed untreated value; NaN outside `target`.
    target : bool array, shape (J, T)
        Treated unit-periods whose untreated outcome is known to the model.
    residual : float array, shape (J, T)
        Of untreated unit-periods; 0 elsewhere.
    collinear : bool
        Whether the covariates follow from the fixed effects or each other; nothing else then holds.
    """

    effect: np.ndarray
    target: np.ndarray
    residual: np.ndarray
    model: UntreatedModel
    collinear: bool


@dataclass(frozen=True)
class UntreatedModel:
    """Normal equations of Y(0) = unit + period + covariates, weighted, over untreated unit-periods.

    Attributes
    ----------
    mass : float array, shape (J, T)
        Weight of each untreated unit-period, 0 of others.
    covariates : float array, shape (J, T, K)
    known : bool array, shape (T,)
        Periods in which someone is untreated.
    gram : float array, shape (P, P), P = known periods less the first + K
        Once unit effects are taken out.
    """

    mass: np.ndarray
    covariates: np.ndarray
    known: np.ndarray
    gram: np.ndarray


def build_untreated_model(mass: np.ndarray, covariates: np.ndarray) -> UntreatedModel:
    """Normal equations on the unit-periods of positive `mass`; every unit must have one."""
    per_unit = mass.sum(axis=1)
    known = mass.sum(axis=0) > 0
    means = np.einsum("jt,jtk->jk", mass, covariates) / per_unit[:, None]
    shares = mass / per_unit[:, None]
    periods = np.diag(mass.sum(axis=0)) - mass.T @ shares
    mixed = np.einsum("jt,jtk->tk", mass, covariates) - mass.T @ means
    both = np.einsum("jt,jtk,jtl->kl", mass, covariates, covariates) - (means * per_unit[:, None]).T @ means
    gram = np.block([[periods, mixed], [mixed.T, both]])
    kept = _kept(known, covariates.shape[2])
    return UntreatedModel(mass, covariates, known, gram[np.ix_(kept, kept)])


def solve_untreated_model(model: UntreatedModel, moments: np.ndarray) -> np.ndarray:
    """Unit + period + covariate terms, shape (J, T), whose normal equations have these `moments` (J, T).

    With `moments` = mass * outcome they are the fitted values; with the weights of an average of treated
    effects they are, times -mass, the weights that the average puts on untreated outcomes.
    """
    per_unit = model.mass.sum(axis=1)
    means = np.einsum("jt,jtk->jk", model.mass, model.covariates) / per_unit[:, None]
    unit = moments.sum(axis=1) / per_unit
    right = np.concatenate(
        [
            moments.sum(axis=0) - model.mass.T @ unit,
            np.einsum("jt,jtk->k", moments, model.covariates) - moments.sum(axis=1) @ means,
        ]
    )
    kept = _kept(model.known, model.covariates.shape[2])
    terms = np.zeros(len(right))
    terms[kept] = np.linalg.solve(model.gram, right[kept])
    period, slopes = terms[: model.mass.shape[1]], terms[model.mass.shape[1] :]
    level = unit - (model.mass / per_unit[:, None]) @ period - means @ slopes
    return level[:, None] + period + model.covariates @ slopes


def _kept(known: np.ndarray, covariates: int) -> np.ndarray:
    """Places of period and covariate terms that are not fixed at 0: the first known period is the level."""
    free = known.copy()
    free[np.flatnonzero(known)[0]] = False
    return np.flatnonzero(np.concatenate([free, np.ones(covariates, bool)]))


def impute_effects(
    values: np.ndarray, *, weights: np.ndarray, covariates: np.ndarray, untreated: np.ndarray, treated: np.ndarray
) -> ImputedEffects:
    """Impute what treated unit-periods would have had, from untreated ones.

    Parameters
    ----------
    values, weights : float arrays, shape (J, T)
    covariates : float array, shape (J, T, K)
    untreated, treated : bool arrays, shape (J, T)
        A unit-period that is in neither (anticipation) plays no part.
    """
    centred = covariates - covariates.mean(axis=(0, 1))
    scale = centred.std(axis=(0, 1))
    covariates = centred / np.where(scale > 0, scale, 1.0)
    model = build_untreated_model(np.where(untreated, weights, 0.0), covariates)
    spread = np.sqrt(np.maximum(np.diag(model.gram), 1e-300))
    sizes = np.linalg.eigvalsh(model.gram / np.outer(spread, spread)) if len(spread) else np.ones(1)
    flat = np.diag(model.gram) <= _CONDITION * model.mass.sum()
    target = treated & model.known
    if sizes[0] < _CONDITION * sizes[-1] or flat.any():
        nothing = np.full(values.shape, np.nan)
        return ImputedEffects(nothing, target, nothing, model, collinear=True)
    gap = values - solve_untreated_model(model, model.mass * values)
    return ImputedEffects(np.where(target, gap, np.nan), target, np.where(untreated, gap, 0.0), model, collinear=False)


def compute_unit_scores(imputed: ImputedEffects, target_weights: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Each unit's part in the error of one average of effects, shape (J,); its variance is the sum of squares.

    The conservative error of Borusyak, Jaravel and Spiess (2024), theorem 3 and eq. 8 to 10: treated
    unit-periods enter by their effect less the average effect of their cell, weighted by squared weights.

    Parameters
    ----------
    target_weights : float array, shape (J, T)
        Weight of each treated effect in the average, adding to 1; 0 elsewhere.
    cell : int array, shape (J, T)
        Cohort-and-period number of each treated unit-period, 0 or more.
    """
    on_untreated = -imputed.model.mass * solve_untreated_model(imputed.model, target_weights)
    inside = imputed.target & (target_weights != 0)
    numbers, squares = cell[inside], target_weights[inside] ** 2
    effect = imputed.effect[inside]
    count = int(cell.max()) + 1
    total = np.bincount(numbers, squares, minlength=count)
    mean = np.bincount(numbers, squares * effect, minlength=count) / np.where(total > 0, total, 1.0)
    surprise = np.zeros(imputed.effect.shape)
    surprise[inside] = effect - mean[numbers]
    return (on_untreated * imputed.residual + target_weights * surprise).sum(axis=1)


def compute_imputation(panel: Panel, timing: Timing, options: StaggeredOptions) -> GroupTimeEffects:
    """Effects by cohort and treated period; the untreated model is fitted on all other unit-periods.

    Covariates enter as regressors that change over time; what does not change is in the unit effects.
    Unit-periods of anticipation are neither fitted nor counted as effects. Periods in which nobody is
    untreated cannot be imputed (a failed check says so).
    """
    place = np.arange(len(panel.periods))
    first = timing.first[:, None]
    untreated = place < first - timing.ahead
    treated = (place >= first) & (timing.cohort >= 0)[:, None]
    chosen = [panel.covariate_names.index(name) for name in options.covariates]
    imputed = impute_effects(
        panel.values,
        weights=panel.weights,
        covariates=panel.covariates[:, :, chosen],
        untreated=untreated,
        treated=treated,
    )
    if imputed.collinear:
        raise NotEstimable(
            Fault(
                "covariates",
                "they follow from unit and period effects, or from each other, among untreated unit-periods",
                got=", ".join(options.covariates),
                next_step="Leave out what does not change over time within units.",
            )
        )
    if not imputed.target.any():
        raise NotEstimable(Fault("panel", "no cohort has a treated period in which others are still untreated"))
    cells = np.array(
        [
            (k, t, g - 1 - timing.ahead)
            for k, g in enumerate(timing.cohorts)
            for t in place
            if t >= g and imputed.model.known[t]
        ]
    )
    number = np.full(panel.values.shape, 0)
    for index, (k, t, _) in enumerate(cells):
        number[timing.cohort == k, t] = index
    value, influence = np.zeros(len(cells)), np.zeros((len(cells), len(panel.units)))
    for index, (k, t, _) in enumerate(cells):
        share = np.zeros(panel.values.shape)
        mine = timing.cohort == k
        share[mine, t] = panel.weights[mine, t] / panel.weights[mine, t].sum()
        value[index] = (share[mine, t] * imputed.effect[mine, t]).sum()
        influence[index] = len(panel.units) * compute_unit_scores(imputed, share, number)
    checks = ()
    if (treated & ~imputed.target).any():
        since = name_period(panel.periods[~imputed.model.known].min())
        text = f"Nobody is untreated from {since} on, so effects from then are not estimated."
        checks = (Check("comparison_lost", False, float((~imputed.model.known).sum()), text),)
    return build_effects(panel, timing, cells, value, influence, options=options, checks=checks)
