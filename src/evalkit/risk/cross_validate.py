"""Validation on discharges that a model was not developed on: in folds of people, and with more and more of them.

The models come from `risk.refit`, fitted to the weightings made here and in `risk.folds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, is_finite, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.risk.arrays import FEWEST_EVENTS, refuse_few, risk_faults
from evalkit.risk.folds import few_faults, refuse_few_held_out
from evalkit.risk.measures import MEASURE_LABELS, MEASURES, compute_measures
from evalkit.risk.refit import RefittedModels


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Of each of `names` (K): the mean over folds and repeats, `values`, and the standard deviation between repeats.

    `by_repeat` (R, K) are means over the folds of a repeat. `repeat_sd` (K,) says how much hangs on how people were
    dealt into folds, not how sure the value is: folds share discharges, and no interval follows from it (Bengio and
    Grandvalet 2004, J Mach Learn Res 5:1089). A measure undefined in a fold is NaN, with `reasons` (K) naming it.
    """

    names: tuple[str, ...]
    values: np.ndarray
    repeat_sd: np.ndarray
    by_repeat: np.ndarray
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]


def estimate_cross_validated(
    models: RefittedModels, outcome: np.ndarray, *, held: np.ndarray, names: Sequence[str] = MEASURES
) -> CrossValidation:
    """Measures in each fold held out, averaged over folds and repeats.

    `held` (R, n) comes from `draw_folds` and `models` from its `count_training`, with risks for the n discharges of
    `outcome`. Folds are measured one by one: risks of different models are not ranked against each other. The
    calibration curve's measures (ICI and its kin) are those of samples as small as a fold, and so somewhat high.

    Fails with `ParameterError` for malformed arguments and with `NotEstimable`, naming the folds, where one holds fewer
    than 10 discharges with the outcome, or without it.
    """
    outcome, held = np.asarray(outcome, dtype=np.float64), np.asarray(held)
    faults = [fault for name in names for fault in choice_faults("cross-validation names", name, MEASURES)]
    folds = int(held.max()) + 1 if held.ndim == 2 and held.size else 0
    if held.shape != (len(held), models.n_rows) or folds * len(held) != len(models):
        got = f"held {held.shape}, {len(models)} models, {models.n_rows} rows"
        faults.append(Fault("cross-validation", "the models are not those of these folds", got))
    refuse([*faults, *risk_faults(models.original, outcome)])
    parts = [(f"fold {f + 1} of {folds}, repeat {r + 1}", r, f, row == f) for r, row in enumerate(held)
             for f in range(folds)]  # fmt: skip
    refuse_few_held_out((name, outcome[rows]) for name, _, _, rows in parts)
    found, reasons = np.full((len(held), folds, len(names)), math.nan), [""] * len(names)
    for b, (name, r, f, rows) in enumerate(parts):
        if not models.reasons[b]:
            risk = models.predict(slice(b, b + 1), np.flatnonzero(rows))[0]
            found[r, f] = [value[0] for value in compute_measures(risk, outcome[rows], names=names).values()]
        for k in np.flatnonzero(np.isnan(found[r, f])):
            said = models.reasons[b] or f"{MEASURE_LABELS[names[k]]} is undefined"
            reasons[k] = reasons[k] or f"{name}: {said}."
    by_repeat = found.mean(axis=1)
    sd = by_repeat.std(axis=0, ddof=1) if len(held) > 1 else np.full(len(names), math.nan)
    missing = sum(bool(reason) for reason in reasons)
    text = f"{missing} of {len(names)} measures are undefined in a fold and are not given."
    check = Check("fold_measures_defined", passed=missing == 0, value=float(missing), text=text)
    return CrossValidation(tuple(names), by_repeat.mean(axis=0), sd, by_repeat, tuple(reasons), (check,))


# ---- learning curve ------------------------------------------------------------------------------


class LearningDraws(NamedTuple):
    """Weights (S x R, n) of people drawn without replacement, share by share; discharges (S,) on average.

    A share with fewer than 10 events in some repeat has a reason in `reasons` (S; "" elsewhere).
    """

    shares: tuple[float, ...]
    repeats: int
    counts: np.ndarray
    discharges: np.ndarray
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Measures (S, K) of `names` on later discharges, by the share of people developed on; means over repeats.

    `repeat_sd` (S, K) is the standard deviation between repeats. A refused share is NaN, with its reason.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    discharges: np.ndarray
    values: np.ndarray
    repeat_sd: np.ndarray
    reasons: tuple[str, ...]


def draw_learning_counts(
    person: np.ndarray, outcome: np.ndarray, *, shares: Sequence[float], repeats: int, rng: np.random.Generator
) -> LearningDraws:
    """Random shares (above 0, up to 1) of the development people, `repeats` times; small shares lie within larger.

    `person` and `outcome` (n,). Fails with `ParameterError` for malformed arguments.
    """
    faults = [*whole_faults("draw_learning_counts repeats", repeats, least=1), *rng_faults(rng)]
    if np.ndim(person) != 1 or np.shape(outcome) != np.shape(person) or not len(person) or pd.isna(person).any():
        faults.append(Fault("draw_learning_counts person, outcome", "are missing, or not of one shape (n,)"))
    if not len(shares) or not all(is_finite(share) and 0 < share <= 1 for share in shares):
        faults.append(Fault("draw_learning_counts shares", "are out of range", str(list(shares)), "above 0, to 1"))
    refuse(faults)
    codes, names = pd.factorize(np.asarray(person))
    order = np.stack([rng.permutation(len(names)) for _ in range(repeats)])[:, codes]  # each person's place in a queue
    counts = np.concatenate([order < math.ceil(share * len(names) - 1e-9) for share in shares])
    reasons = []
    for i, share in enumerate(shares):
        drawn = counts[i * repeats : (i + 1) * repeats]
        found = few_faults((f"{share:.0%} of the people, draw {r + 1}", outcome[row]) for r, row in enumerate(drawn))
        reasons.append(f"{share:.0%} of the people hold fewer than {FEWEST_EVENTS} events." if found else "")
    sizes = counts.sum(axis=1).reshape(len(shares), repeats).mean(axis=1)
    return LearningDraws(tuple(shares), repeats, counts.astype(np.uint8), sizes, tuple(reasons))


def estimate_learning_curve(
    models: RefittedModels, outcome: np.ndarray, draws: LearningDraws, *, names: Sequence[str] = MEASURES
) -> LearningCurve:
    """How models developed on a share of the people do on the validation discharges of `outcome` (m,).

    `models` are fitted to `draws.counts` and predict for the m. A share is refused, with its reason, where a repeat
    holds fewer than 10 events or gave no model. Fails with `ParameterError` for malformed arguments and with
    `NotEstimable` where fewer than 10 of the m are with the outcome, or without it.
    """
    outcome, repeats = np.asarray(outcome, dtype=np.float64), draws.repeats
    faults = [fault for name in names for fault in choice_faults("learning curve names", name, MEASURES)]
    if len(models) != len(draws.counts):
        got = f"{len(models)} models, {len(draws.counts)} draws"
        faults.append(Fault("learning curve", "the models are not those of these draws", got))
    refuse([*faults, *risk_faults(models.original, outcome)])
    refuse_few(outcome)
    found, reasons = np.full((len(draws.shares), repeats, len(names)), math.nan), list(draws.reasons)
    for i, share in enumerate(draws.shares):
        unfitted = next((reason for reason in models.reasons[i * repeats : (i + 1) * repeats] if reason), "")
        reasons[i] = reasons[i] or (f"{share:.0%} of the people: {unfitted}." if unfitted else "")
        for r in range(0 if reasons[i] else repeats):
            risk = models.predict(slice(i * repeats + r, i * repeats + r + 1), slice(None))[0]
            found[i, r] = [value[0] for value in compute_measures(risk, outcome, names=names).values()]
    sd = found.std(axis=1, ddof=1) if repeats > 1 else np.full((len(draws.shares), len(names)), math.nan)
    return LearningCurve(tuple(names), draws.shares, draws.discharges, found.mean(axis=1), sd, tuple(reasons))
