"""What a model leans on: permutation importance and partial dependence on validation data, for any model.

Models come as `predict(features) -> risks`, so that all columns that a preparation makes of one predictor are shuffled
or set together. Neither says what would happen if a predictor were changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.faults import level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.risk.arrays import FEWEST_EVENTS
from evalkit.risk.data import NOT_RECORDED, RiskData, as_levels, as_numbers, column_type
from evalkit.risk.fairness import FEWEST_PEOPLE

Predict = Callable[[pd.DataFrame], np.ndarray]

# Predictors tied together more closely than this share their importance between them.
CORRELATED = 0.7
_HELD = 10_000_000  # numbers held at a time


@dataclass(frozen=True)
class ImportanceOptions:
    """`repeats` shuffles of each predictor; `level` of the intervals."""

    repeats: int = 5
    level: float = 0.95

    def __post_init__(self) -> None:
        refuse([*whole_faults("ImportanceOptions repeats", self.repeats, least=2), *level_faults(self.level)])


@dataclass(frozen=True, eq=False)
class Importance:
    """For each of `names` (p) the drop in AUROC and the rise in log loss (p,), with errors and interval ends (p,).

    `auroc` and `log_loss` are those of the model as it is. NaN where the log loss is infinite (risks of 0 or 1).
    """

    names: tuple[str, ...]
    auroc: float
    log_loss: float
    auroc_drop: np.ndarray
    auroc_se: np.ndarray
    auroc_lower: np.ndarray
    auroc_upper: np.ndarray
    log_loss_rise: np.ndarray
    log_loss_se: np.ndarray
    log_loss_lower: np.ndarray
    log_loss_upper: np.ndarray
    level: float
    n_people: int
    n_events: int
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Dependence:
    """Mean predicted risk of everybody with `predictor` set to each of `values`; tuples of one length.

    `share` is that of the discharges near the value: those that have it, or for grids of numbers are nearer to it
    than to another; `near` its people. A point with fewer than 10 people near is NaN with a reason, and its very
    name is not to be shown. `n_people` and `n_events` are those of all the data.
    """

    predictor: str
    values: tuple[str, ...]
    risk: tuple[float, ...]
    share: tuple[float, ...]
    near: tuple[int, ...]
    reasons: tuple[str, ...]
    n_people: int
    n_events: int
    checks: tuple[Check, ...]


def estimate_importance(
    predict: Predict,
    data: RiskData,
    *,
    counts: np.ndarray,
    rng: np.random.Generator,
    blocks: Mapping[str, Sequence[str]] | None = None,
    options: ImportanceOptions = ImportanceOptions(),
) -> Importance:
    r"""How much worse the model does on `data` when a predictor is shuffled between discharges (Breiman 2001; Fisher,
    Rudin and Dominici 2019, JMLR 20:177).

    `blocks` are predictors shuffled together, by name; by default each is a block. The values are means over shuffles.
    With \(\phi_i\) the mean over shuffles of a discharge's influence on the difference (for AUROC its placement
    value, for log loss its own loss), the bootstrap draws `counts` (B, n) of people give \(\sum_i c_{bi} \phi_i\);
    the error is \(\sqrt{s_b^2 + s_r^2 / R}\), with \(s_r\) the standard deviation over the R shuffles, and the
    interval normal. This is the bootstrap of the linear approximation, which spares sorting each draw anew.

    Fails with `ParameterError` for unknown predictors, counts that do not fit and a model that gives no probabilities;
    with `NotEstimable` where fewer than 10 discharges are in the rarer class.
    """
    chosen = {name: [name] for name in data.features} if blocks is None else {k: list(v) for k, v in blocks.items()}
    _refuse(data, chosen, counts, rng)
    base = _predict(predict, data.features)
    event = data.outcome == 1
    area, place = compute_placements(base, event)
    losses = _losses(base, event)
    drops, rises = np.empty((len(chosen), options.repeats)), np.empty((len(chosen), options.repeats))
    influence = np.zeros((2, len(chosen), len(data)))
    for j, columns in enumerate(chosen.values()):
        for r in range(options.repeats):
            order = rng.permutation(len(data))
            shuffled = data.features.copy(deep=False)
            for column in columns:
                shuffled[column] = data.features[column].take(order).set_axis(data.features.index)
            risk = _predict(predict, shuffled)
            other, other_place = compute_placements(risk, event)
            change = _losses(risk, event) - losses
            drops[j, r], rises[j, r] = area - other, change.mean()
            influence[0, j] += (place - other_place) / options.repeats
            influence[1, j] += (change - rises[j, r]) / len(data) / options.repeats
    found = [_with_interval(v, phi, counts, options) for v, phi in zip((drops, rises), influence, strict=True)]
    checks = (check_correlated(data.features), _zero_check(found[1][0]), _shuffle_check(drops, found[0][1]))
    return Importance(
        tuple(chosen), area, float(losses.mean()), *found[0], *found[1], options.level, data.n_people, data.n_events,
        checks,
    )  # fmt: skip


def compute_placements(risk: np.ndarray, event: np.ndarray) -> tuple[float, np.ndarray]:
    """AUROC of risks (n,) and each discharge's influence on it (n,), which sums to 0 within events and others.

    For an event (share of others below it - AUROC) / events, for another likewise (DeLong et al. 1988).
    """
    events, others = int(event.sum()), int((~event).sum())
    held, code = np.unique(risk, return_inverse=True)
    of_events = np.bincount(code, event, len(held))
    of_others = np.bincount(code, ~event, len(held))
    below = (np.cumsum(of_others) - of_others / 2)[code] / others
    above = 1 - (np.cumsum(of_events) - of_events / 2)[code] / events
    area = float(below[event].mean())
    return area, np.where(event, (below - area) / events, (above - area) / others)


def check_correlated(features: pd.DataFrame) -> Check:
    """Whether any two predictors are tied so closely that shuffling one leaves what it says in the other.

    The tie is the first canonical correlation between the columns of two predictors: ranks and an indicator of what is
    not recorded for numbers, levels for categories. For two numbers that is Spearman's (its size), for a number and a
    category the square root of the correlation ratio of the ranks.
    """
    blocks = [_columns(features[name]) for name in features]
    names = [str(name) for name, block in zip(features, blocks, strict=True) if block.shape[1]]
    blocks = [block for block in blocks if block.shape[1]]
    tied = []
    if len(names) > 1:
        edges = np.cumsum([0, *(block.shape[1] for block in blocks)])
        z = np.column_stack(blocks)
        z /= np.sqrt((z**2).sum(axis=0))
        joint = z.T @ z
        roots = [_inverse_root(joint[a:b, a:b]) for a, b in pairwise(edges)]
        for i in range(len(names)):
            for j in range(i + 1, len(names)):
                part = roots[i] @ joint[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] @ roots[j]
                strength = float(np.linalg.norm(part, 2))
                if strength >= CORRELATED:
                    tied.append((strength, f"{names[i]} and {names[j]}"))
    tied.sort(reverse=True)
    said = "; ".join(pair for _, pair in tied[:10]) + ("; and others" if len(tied) > 10 else "")
    text = (
        f"Closely tied, so that each seems to matter less than it does and is shuffled into what never occurs: {said}."
    )
    return Check(
        "importance_correlated_predictors",
        passed=not tied,
        value=float(len(tied)),
        text=text if tied else f"No two predictors are tied more closely than {CORRELATED:g}.",
    )


def estimate_dependence(predict: Predict, data: RiskData, predictor: str, *, points: int = 10) -> Dependence:
    """Partial dependence: the mean risk when everybody in `data` has one value of `predictor` (Friedman 2001, Ann
    Stat 29:1189), at each level, at each number where there are no more than `points` + 2, else at `points` round
    numbers from the 5th to the 95th percentile; and where some are missing, not recorded.

    Fails with `ParameterError` for an unknown predictor, `points` below 2, or a model that gives no probabilities.
    """
    known = [str(name) for name in data.features]
    faults = whole_faults("estimate_dependence points", points, least=2)
    if predictor not in known:
        faults.append(
            Fault("estimate_dependence", "no such predictor", predictor, next_step=suggest_name(predictor, known))
        )
    refuse(faults)
    column = data.features[predictor]
    settings, nearest = _settings(column, points)
    risk, share, near = [], [], []
    for k, value in enumerate(settings.values()):
        rows = nearest == k
        near.append(len(np.unique(data.person[rows])))
        few = near[-1] < FEWEST_PEOPLE or rows.mean() * data.n_people < FEWEST_PEOPLE
        set_to = pd.Series([value] * len(data), index=column.index, dtype=column.dtype)
        risk.append(math.nan if few else float(_predict(predict, data.features.assign(**{predictor: set_to})).mean()))
        share.append(math.nan if few else float(rows.mean()))
    reasons = tuple(f"Fewer than {FEWEST_PEOPLE} people are near this value." if math.isnan(r) else "" for r in risk)
    lost = sum(map(bool, reasons))
    text = f"Some values are left out: fewer than {FEWEST_PEOPLE} people are near." if lost else "No value is left out."
    check = Check(f"{predictor}_dependence", passed=not lost, value=float(lost), text=text)
    return Dependence(
        predictor, tuple(settings), tuple(risk), tuple(share), tuple(near), reasons, data.n_people, data.n_events,
        (check,),
    )  # fmt: skip


# ---- importance ----------------------------------------------------------------------------------


def _predict(predict: Predict, features: pd.DataFrame) -> np.ndarray:
    risk = np.asarray(predict(features), dtype=np.float64)
    if risk.shape != (len(features),) or not np.all((risk >= 0) & (risk <= 1)):
        got = (
            f"shape {risk.shape}" if risk.shape != (len(features),) else "numbers that are missing, below 0 or above 1"
        )
        raise ParameterError(Fault("predict", "gives no probabilities, one a discharge", got))
    return risk


def _losses(risk: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Log loss of each discharge; NaN for all where one risk is 0 or 1."""
    if risk.min() <= 0 or risk.max() >= 1:
        return np.full(len(risk), np.nan)
    return -np.log(np.where(event, risk, 1 - risk))


def _with_interval(
    values: np.ndarray, influence: np.ndarray, counts: np.ndarray, options: ImportanceOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean over shuffles of values (p, R), its error, and the ends of its interval."""
    size = max(1, _HELD // counts.shape[1])
    parts = [counts[at : at + size].astype(np.float64) @ influence.T for at in range(0, len(counts), size)]
    of_people = np.concatenate(parts).var(axis=0, ddof=1)
    mean, se = values.mean(axis=1), np.sqrt(of_people + values.var(axis=1, ddof=1) / values.shape[1])
    reach = float(norm.ppf(0.5 + options.level / 2)) * se
    return mean, se, mean - reach, mean + reach


def _zero_check(rises: np.ndarray) -> Check:
    lost = bool(np.isnan(rises).any())
    text = "Risks of 0 or 1 make the log loss infinite." if lost else "Log loss is finite."
    return Check("importance_log_loss", passed=not lost, value=float(np.isnan(rises).sum()), text=text)


def _shuffle_check(drops: np.ndarray, se: np.ndarray) -> Check:
    """Whether chance in shuffling is small beside chance in who is in the data."""
    noise = drops.std(axis=1, ddof=1) / math.sqrt(drops.shape[1])
    noisy = int((noise > 0.5 * se).sum())
    text = "More shuffles would narrow some intervals." if noisy else "Shuffles add little to the intervals."
    return Check("importance_shuffles", passed=None, value=float(noisy), text=text)


def _refuse(data: RiskData, chosen: Mapping[str, Sequence[str]], counts: np.ndarray, rng: np.random.Generator) -> None:
    known = [str(name) for name in data.features]
    faults = [
        Fault(f'importance of "{name}"', "no such predictor", column, next_step=suggest_name(column, known))
        for name, columns in chosen.items() for column in columns if column not in known
    ]  # fmt: skip
    if not chosen or not all(chosen.values()):
        faults.append(Fault("importance blocks", "name no predictor"))
    if np.ndim(counts) != 2 or np.shape(counts)[1] != len(data) or len(counts) < 2:
        got = f"shape {np.shape(counts)}"
        faults.append(Fault("importance counts", "do not fit the discharges", got, f"(B, {len(data)}), B of 2 or more"))
    refuse([*faults, *rng_faults(rng)])
    if min(data.n_events, len(data) - data.n_events) < FEWEST_EVENTS:
        fault = "too few discharges with the outcome, or without it"
        raise NotEstimable(Fault("permutation importance", fault, f"fewer than {FEWEST_EVENTS}"))


def _columns(values: pd.Series) -> np.ndarray:
    """Centred columns (n, k) that stand for one predictor; none where it is the same for all."""
    if column_type(values) == "number":
        numbers = as_numbers(values)
        missing = np.isnan(numbers)
        ranks = np.zeros(len(numbers))
        ranks[~missing] = rankdata(numbers[~missing])
        ranks[missing] = ranks[~missing].mean() if not missing.all() else 0.0
        block = np.column_stack([ranks, missing.astype(np.float64)])
    else:
        codes, names = pd.factorize(as_levels(values))
        block = (codes[:, None] == np.arange(len(names))[None, :-1]).astype(np.float64)
    block = block - block.mean(axis=0)
    return block[:, (np.abs(block) > 1e-12).any(axis=0)]


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    good = values > 1e-10 * values[-1]
    return (vectors[:, good] / np.sqrt(values[good])) @ vectors[:, good].T


# ---- dependence ----------------------------------------------------------------------------------


def _settings(column: pd.Series, points: int) -> tuple[dict[str, object], np.ndarray]:
    """Values to set, by what they are called, and which of them each discharge is nearest to (n,)."""
    missing = column.isna().to_numpy()
    if column_type(column) == "number":
        numbers = as_numbers(column)
        grid = _grid(numbers[~missing], points)
        settings: dict[str, object] = {f"{value:g}": value for value in grid}
        near = np.searchsorted((grid[1:] + grid[:-1]) / 2, numbers)
    else:
        held = {str(value): value for value in column.dropna().unique()}
        settings = {name: held[name] for name in sorted(held)}
        near = pd.Index(settings).get_indexer(as_levels(column))
    if missing.any():
        near = np.where(missing, len(settings), near)
        settings[NOT_RECORDED] = None if column.dtype == object else pd.NA if _is_masked(column) else np.nan
    return settings, near


def _is_masked(column: pd.Series) -> bool:
    return pd.api.types.is_extension_array_dtype(column.dtype) and not isinstance(column.dtype, pd.CategoricalDtype)


def _grid(numbers: np.ndarray, points: int) -> np.ndarray:
    """Ascending values: all where they are few, else round numbers over the middle nine tenths."""
    held = np.unique(numbers)
    if len(held) <= points + 2:
        return held
    ends = np.quantile(numbers, np.linspace(0.05, 0.95, points))
    width = ends[-1] - ends[0]
    if not width > 0:
        return held[np.isin(held, ends)]
    decimals = 2 - math.floor(math.log10(width)) - 1
    if np.all(held == np.round(held)):
        decimals = min(decimals, 0)
    return np.unique(np.round(ends, decimals)) + 0.0
