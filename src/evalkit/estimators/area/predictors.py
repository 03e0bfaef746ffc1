"""Synthetic control on predictors, each of them as important as its V says (Abadie, Diamond and Hainmueller 2010)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.estimators.area.contrasts import Counterfactual, Design
from evalkit.estimators.area.simplex import solve_batch, solve_simplex, spread_ties
from evalkit.estimators.area.synthetic_weights import Outcomes, build_counterfactual, read_outcomes

Importance = Literal["optimised", "regression"]

_LEAST = 1e-6  # least importance of a predictor relative to the largest, in a search
_RANDOM_STARTS = 20
_HOPS = (4.0, 2.0, 1.0)  # standard deviations of log V in rounds of new starts about the best so far
_STEPS = 60
_STALLED = 1e12


def average_predictors(
    df: pd.DataFrame, *, unit: str, period: str, windows: Mapping[str, tuple[str, object, object]]
) -> pd.DataFrame:
    """Mean of columns over windows of time, one row a unit and one column a window.

    `windows` maps the name of a predictor to `(column, start, end)`, `[start, end)`. A period in which
    no unit has a value (a figure that is collected every other year) is passed over; one in which only
    some have it is refused, since units would then be averaged over different periods.

    Raises ParameterError, all faults at once, for a missing column, a repeated unit-period, a window
    without values, or one in which units lack values that others have.
    """
    columns = [unit, period, *(w[0] for w in windows.values())]
    known = [str(c) for c in df.columns]
    absent = [Fault("predictors", f'there is no column "{c}"', next_step=suggest_name(c, known))
              for c in dict.fromkeys(columns) if c not in df.columns]  # fmt: skip
    if absent or not windows:
        raise ParameterError(absent or Fault("predictors", "no window is given"))
    if df.duplicated([unit, period]).any():
        raise ParameterError(Fault("predictors", "unit-periods stand in the table more than once"))
    faults, out = [], {}
    for name, (column, start, end) in windows.items():
        inside = df[(df[period] >= start) & (df[period] < end)]
        wide = inside.pivot(index=unit, columns=period, values=column).reindex(df[unit].unique()).sort_index()
        wide = wide.dropna(axis=1, how="all")
        lacking = int(wide.isna().any(axis=1).sum())
        if wide.shape[1] == 0:
            faults.append(Fault(f'predictor "{name}"', f'"{column}" has no value from {start} until before {end}'))
        elif lacking:
            faults.append(
                Fault(f'predictor "{name}"', f'{lacking} units lack "{column}" in periods in which others have it')
            )
        out[name] = wide.mean(axis=1)
    if faults:
        raise ParameterError(faults)
    return pd.DataFrame(out)


def align_predictors(predictors: pd.DataFrame, units: np.ndarray) -> np.ndarray:
    """Predictors of these units in their order, shape (J, K); rows of other units are left aside.

    Raises ParameterError for units without a row or with two, and for values missing, infinite, or the
    same in all units.
    """
    if predictors.index.has_duplicates:
        raise ParameterError(Fault("predictors", "a unit has more than one row"))
    absent = [str(u) for u in units if u not in predictors.index]
    if absent or predictors.shape[1] == 0:
        what = f"{len(absent)} units have no row" if absent else "there is no column"
        raise ParameterError(Fault("predictors", what, got=", ".join(absent[:5])))
    wide = predictors.loc[units]
    faults = []
    for name in wide.columns:
        column = pd.to_numeric(wide[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(column).all():
            faults.append(Fault(f'predictor "{name}"', "it holds missing or infinite values"))
        elif np.ptp(column) == 0:
            faults.append(Fault(f'predictor "{name}"', "it is the same in all units", next_step="Leave it out."))
    if faults:
        raise ParameterError(faults)
    return wide.to_numpy(dtype=np.float64)


def build_predictor_design(
    predictors: np.ndarray, *, importance: Importance | tuple[float, ...] = "optimised"
) -> Design:
    """A design that matches predictors (J, K), which must be in the order of the values' units.

    `importance` is V: given, one number a predictor; "regression", from the regression of the outcomes
    before adoption on the predictors, which is where R's Synth starts; or "optimised", the V whose
    weights fit the outcomes before adoption best (`optimise_importance`).
    """

    last: dict[tuple[object, ...], np.ndarray] = {}

    def design(values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int) -> Counterfactual:
        outcomes = read_outcomes(values, treated=treated, donors=donors, first=first)
        before = outcomes.values[..., :first]
        key = (first, values.shape, before.tobytes(), treated.tobytes(), donors.tobytes())
        # Inference tries many effects after adoption, of which these weights, dear to find, know nothing.
        if key not in last:
            chosen = compute_importance(predictors, outcomes, first=first, importance=importance)
            last.clear()
            last[key] = match_predictors(scale_predictors(predictors, outcomes), chosen, donors)
        weights = last[key]
        return build_counterfactual(
            outcomes, first=first, unit_weights=weights, time_weights=np.zeros((len(donors), first))
        )

    return design


def compute_importance(
    predictors: np.ndarray, outcomes: Outcomes, *, first: int, importance: Importance | tuple[float, ...]
) -> np.ndarray:
    """V of each assignment, shape (A, K), adding to 1. Raises ParameterError for a V that does not fit."""
    if not isinstance(importance, str):
        given = np.asarray(importance, dtype=np.float64)
        if given.shape != predictors.shape[1:] or not np.isfinite(given).all() or (given < 0).any() or not given.any():
            allowed = f"{predictors.shape[1]} numbers, none negative and not all 0"
            raise ParameterError(Fault("importance", "it does not fit the predictors", str(importance), allowed))
        return np.tile(given / given.sum(), (len(outcomes.donors), 1))
    start = regress_importance(predictors, outcomes, first)
    return start if importance == "regression" else optimise_importance(predictors, outcomes, first, start)


def scale_predictors(predictors: np.ndarray, outcomes: Outcomes) -> np.ndarray:
    """Predictors less the treated mean, over their standard deviation among units in use, shape (A, J, K).

    The scaling is that of R's Synth: n - 1 below, treated units included.
    """
    scaled = _standardise(predictors, outcomes)
    return scaled - outcomes.shares[:, None, :] @ scaled


def match_predictors(apart: np.ndarray, importance: np.ndarray, donors: np.ndarray) -> np.ndarray:
    """Simplex weights (A, J) with the least V-weighted distance from the treated; ties spread by rule."""
    gram = _distances(apart, importance)
    linear = np.zeros(donors.shape)
    return spread_ties(gram, linear, donors, solve_simplex(gram, linear, donors))


def regress_importance(predictors: np.ndarray, outcomes: Outcomes, first: int) -> np.ndarray:
    """V by regression, shape (A, K): squared coefficients of all outcomes before adoption on the predictors.

    As R's Synth starts its search: predictors scaled, with an intercept that is then dropped, all units
    in use; V_k is the sum of squares of predictor k's coefficients, as a share.
    """
    used = outcomes.donors | (outcomes.shares > 0)
    scaled = np.where(used[:, :, None], _standardise(predictors, outcomes), 0.0)
    design = np.concatenate([used[:, :, None].astype(np.float64), scaled], axis=2)
    before = np.where(used[:, :, None], outcomes.values[..., :first], 0.0)
    slopes = (np.linalg.pinv(design) @ before)[:, 1:]
    squares = (slopes**2).sum(axis=2)
    total = squares.sum(axis=1, keepdims=True)
    return np.where(total > 0, squares / np.where(total > 0, total, 1.0), 1 / squares.shape[1])


def optimise_importance(predictors: np.ndarray, outcomes: Outcomes, first: int, start: np.ndarray) -> np.ndarray:
    """V, shape (A, K), whose weights come nearest to the outcomes before adoption.

    Abadie and Gardeazabal 2003, AER 93:113, appendix B. The problem is not convex. Levenberg and
    Marquardt's method on log V, with the exact derivative of the weights on their support, runs from
    several starts at once: `start`, equal importance, each predictor alone, and a fixed set of random
    ones; the best end is taken. The answer is deterministic, and a local optimum at worst.
    """
    apart = scale_predictors(predictors, outcomes)
    before = outcomes.values[..., :first]
    aim = outcomes.mix(outcomes.shares, before)
    rows = (before if before.ndim == 3 else before[None]) - aim[:, None, :]
    if rows.shape[0] == 1:
        rows = np.broadcast_to(rows, (len(start), *rows.shape[1:]))
    random = np.random.default_rng(2010)
    best = _best_end(apart, rows, outcomes.donors, _starts(start, random))
    for spread in _HOPS:
        hops = np.log(best)[:, None, :] + spread * random.standard_normal((_RANDOM_STARTS, start.shape[1]))
        best = _best_end(apart, rows, outcomes.donors, np.concatenate([best[:, None, :], _normalise(hops)], axis=1))
    return best


def _best_end(apart: np.ndarray, rows: np.ndarray, donors: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The best of the local optima reached from starts (A, S, K), shape (A, K)."""
    problems, count, size = starts.shape
    pick = np.repeat(np.arange(problems), count)
    logs = _search(apart[pick], rows[pick], donors[pick], np.log(starts.reshape(-1, size)))
    ends = _normalise(logs)
    # Judged by the weights that will be given: where V leaves ties, the search met others.
    weights = match_predictors(apart[pick], ends, donors[pick])
    losses = ((weights[:, None, :] @ rows[pick])[:, 0] ** 2).mean(axis=1).reshape(problems, count)
    return ends.reshape(starts.shape)[np.arange(problems), losses.argmin(axis=1)]


def _search(apart: np.ndarray, rows: np.ndarray, donors: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Levenberg-Marquardt on log V for B problems together; log V (B, K) at the end."""
    linear = np.zeros(donors.shape)
    importance = _normalise(logs)
    weights = solve_simplex(_distances(apart, importance), linear, donors)
    errors = (weights[:, None, :] @ rows)[:, 0]
    losses = (errors**2).mean(axis=1)
    damping = np.full(len(logs), 1e-2)
    live = np.arange(len(logs))
    for _ in range(_STEPS):
        slopes = _differentiate(apart[live], importance[live], weights[live], rows[live])
        normal = slopes @ np.swapaxes(slopes, 1, 2)
        size = np.trace(normal, axis1=1, axis2=2)[:, None, None] + np.finfo(float).tiny
        damped = normal + damping[live, None, None] * size * np.eye(logs.shape[1])
        step = -np.linalg.solve(damped, slopes @ errors[live, :, None])[:, :, 0]
        trial = np.log(_normalise(logs[live] + np.clip(step, -3, 3)))
        shares = np.exp(trial)
        there = solve_simplex(_distances(apart[live], shares), linear[live], donors[live], start=weights[live])
        missed = (there[:, None, :] @ rows[live])[:, 0]
        loss = (missed**2).mean(axis=1)
        better = loss < losses[live]
        gain = 1 - loss / np.where(losses[live] > 0, losses[live], 1.0)
        moved = live[better]
        logs[moved], importance[moved], weights[moved] = trial[better], shares[better], there[better]
        errors[moved], losses[moved] = missed[better], loss[better]
        damping[live] = np.where(better, damping[live] / 5, damping[live] * 4)
        live = live[~((better & (gain < 1e-12)) | (damping[live] > _STALLED))]
        if not len(live):
            break
    return logs


def _differentiate(apart: np.ndarray, importance: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Derivative of the errors (B, T0) by log V, shape (B, K, T0), with the support of the weights held.

    On the support S the weights solve G_SS w = mu 1, 1'w = 1 with G = sum_k V_k d_k d_k'; so that
    G_SS dw - dmu 1 = -V_k d_k (d_k'w) and 1'dw = 0.
    """
    support = weights > 0
    wide = int(support.sum(axis=1).max())
    order = np.argsort(~support, axis=1, kind="stable")[:, :wide]
    real = np.take_along_axis(support, order, axis=1)
    inner = np.where(real[:, :, None], np.take_along_axis(apart, order[:, :, None], axis=1), 0.0)
    outer = np.where(real[:, :, None], np.take_along_axis(rows, order[:, :, None], axis=1), 0.0)
    share = np.take_along_axis(weights, order, axis=1)
    system = np.zeros((len(weights), wide + 1, wide + 1))
    block = (inner * importance[:, None, :]) @ np.swapaxes(inner, 1, 2)
    scale = np.trace(block, axis1=1, axis2=2)[:, None, None] + np.finfo(float).tiny
    system[:, :wide, :wide] = block / scale
    places = np.arange(wide)
    system[:, places, places] += np.where(real, 0.0, 1.0)
    system[:, :wide, wide] = system[:, wide, :wide] = real
    distance = (share[:, None, :] @ inner)[:, 0] * importance
    right = np.zeros((len(weights), wide + 1, importance.shape[1]))
    right[:, :wide] = -(inner * distance[:, None, :]) / scale
    moves = solve_batch(system, right)[:, :wide]
    return np.swapaxes(moves, 1, 2) @ outer


def _starts(regression: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Points to search from, shape (A, S, K); the random ones are the same for all A."""
    problems, size = regression.shape
    alone = np.full((size, size), 0.1 / size) + 0.9 * np.eye(size)
    drawn = _normalise(np.log(10) * random.uniform(-5, 0, (_RANDOM_STARTS, size)))
    fixed = np.vstack([np.full((1, size), 1 / size), alone, drawn])
    starts = np.concatenate([regression[:, None, :], np.tile(fixed, (problems, 1, 1))], axis=1)
    return np.maximum(starts, _LEAST)


def _normalise(logs: np.ndarray) -> np.ndarray:
    """V from its logarithm, no predictor below `_LEAST` of the largest, adding to 1 along the last axis."""
    raised = np.maximum(np.exp(logs - logs.max(axis=-1, keepdims=True)), _LEAST)
    return raised / raised.sum(axis=-1, keepdims=True)


def _distances(apart: np.ndarray, importance: np.ndarray) -> np.ndarray:
    return (apart * importance[:, None, :]) @ np.swapaxes(apart, 1, 2)


def _standardise(predictors: np.ndarray, outcomes: Outcomes) -> np.ndarray:
    used = (outcomes.donors | (outcomes.shares > 0)).astype(np.float64)
    count = used.sum(axis=1)[:, None]
    mean = used @ predictors / count
    apart = (predictors - mean[:, None, :]) * used[:, :, None]
    deviation = np.sqrt((apart**2).sum(axis=1) / np.maximum(count - 1, 1))
    return apart / np.where(deviation > 0, deviation, 1.0)[:, None, :]
