"""For whom a risk model works: every measure within each level of each characteristic, and gaps between levels.

All levels share one bootstrap of people, so that a level's interval, a gap between two and the largest gap of many
come from the same draws. What a threshold does to each level is in `fairness_threshold`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, level_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.arrays import FEWEST_EVENTS
from evalkit.risk.calibration_test import DISTANCES, compute_calibration_test
from evalkit.risk.data import NOT_RECORDED, RiskData
from evalkit.risk.measures import MEASURES, compute_measures
from evalkit.risk.resample import draw_person_counts

FEWEST_PEOPLE = 10
# External validation wants at least 100 events (Collins, Ogundimu and Altman 2016, Stat Med 35:214).
ADVISED_EVENTS = 100
# An interval is given where at least this share of draws defined the measure.
_DEFINED = 0.9
# Intervals are made on the log-odds or the log and turned back, so that they stay where the measure can be.
_LOGIT = ("auroc", "auprc", "brier")
_LOG = ("observed_expected", "log_loss")
# Gaps in these need no unfairness: they follow the share readmitted, or the number of discharges.
FOLLOWS_BASE_RATE = ("auprc", "brier", "scaled_brier", "log_loss", "ppv", "npv", "flagged_per_100")
FOLLOWS_SIZE = ("ici", "e50", "e90", "emax")


@dataclass(frozen=True, eq=False, repr=False)
class GroupLevel:
    """One level of a characteristic: `rows` (k,) places in the sample; `refusal` says why nothing is told, or is ""."""

    characteristic: str
    name: str
    rows: np.ndarray
    n_people: int
    n_events: int
    refusal: str

    @property
    def n_discharges(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False, repr=False)
class GroupSample:
    """Risks (n,) in ascending order with their outcomes (n,), people (n,) and draws of people `counts` (B, n).

    `levels` are those of each characteristic in turn; the levels of one hold each discharge once.
    """

    risk: np.ndarray
    outcome: np.ndarray
    person: np.ndarray
    counts: np.ndarray
    levels: tuple[GroupLevel, ...]

    @property
    def characteristics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(level.characteristic for level in self.levels))


@dataclass(frozen=True, eq=False, repr=False)
class GroupEstimates:
    """Measures `names` (M) of `levels` (L): values, errors and interval ends (L, M), draws (B, L, M).

    Nothing is NaN but what is undefined or refused; `reasons` (L, M) says why, "" elsewhere. `n_people` and
    `n_events` (L, M) are what stands behind each number, also behind refused ones, for the disclosure gate.
    """

    levels: tuple[GroupLevel, ...]
    names: tuple[str, ...]
    values: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    draws: np.ndarray
    reasons: np.ndarray
    n_people: np.ndarray
    n_events: np.ndarray
    level: float
    checks: tuple[Check, ...]

    def places(self, characteristic: str) -> list[int]:
        """Where the levels of a characteristic stand."""
        return [i for i, level in enumerate(self.levels) if level.characteristic == characteristic]

    def value(self, characteristic: str, name: str, measure: str) -> float:
        """One number by name."""
        at = next(i for i in self.places(characteristic) if self.levels[i].name == name)
        return float(self.values[at, self.names.index(measure)])


@dataclass(frozen=True)
class GroupGap:
    """The largest difference in `measure` between two levels of a characteristic: `highest` less `lowest`.

    `value` is the largest of the estimated differences, which is above 0 also where all levels are alike: then it
    would be `if_equal` on average. `lower` and `upper` hold the largest true difference at `level`, all pairs taken
    together; `p_value` tests that all levels are alike. Where nothing can be told, NaN and a `reason`.
    """

    characteristic: str
    measure: str
    highest: str
    lowest: str
    value: float
    lower: float
    upper: float
    level: float
    if_equal: float
    p_value: float
    n_people: float
    n_events: float
    reason: str


def build_group_sample(
    risk: np.ndarray, data: RiskData, *, replicates: int = 200, rng: np.random.Generator
) -> GroupSample:
    """Risks (n,) of the discharges in `data`, split by each column of `data.groups`, and draws of people.

    A level with fewer than 10 discharges with the outcome, without it, or fewer than 10 people is marked as refused.
    Fails with `ParameterError` where risks are no probabilities, do not fit the data, or there are no groups.
    """
    risk = np.asarray(risk, dtype=np.float64)
    faults = []
    if risk.shape != (len(data),):
        faults.append(Fault("risk", "does not match the discharges", f"shape {risk.shape}", f"({len(data)},)"))
    elif not np.all((risk >= 0) & (risk <= 1)):
        faults.append(Fault("risk", "is missing, below 0 or above 1", allowed="probabilities"))
    if data.groups is None or data.groups.shape[1] == 0:
        faults.append(Fault("RiskData.groups", "holds no characteristic", next_step="Give groups to compare"))
    refuse(faults)
    counts = draw_person_counts(data.person, replicates=replicates, rng=rng)
    order = np.argsort(risk, kind="stable")
    outcome, person = data.outcome[order], pd.factorize(data.person)[0][order]
    levels = []
    for characteristic in data.groups:
        held = data.groups[characteristic].to_numpy()[order]
        for name in sorted(pd.unique(held), key=_level_order):
            rows = np.flatnonzero(held == name)
            levels.append(_build_level(str(characteristic), name, rows, outcome, person))
    return GroupSample(risk[order], outcome, person, np.ascontiguousarray(counts[:, order]), tuple(levels))


def estimate_group_performance(
    sample: GroupSample, *, level: float = 0.95, names: Sequence[str] = MEASURES
) -> GroupEstimates:
    r"""Every measure of `names` within each level, with intervals from the draws of people.

    With \(\hat\theta\) the measure, \(s\) the standard deviation of its draws times \(\sqrt{G / (G - 1)}\), G the
    level's people, and g the log-odds (AUROC, AUPRC, Brier), the log (O/E, log loss) or nothing:
    \(g^{-1}(g(\hat\theta) \pm z\, s\, g'(\hat\theta))\). ICI, E50, E90 and Emax, whose intervals are cut at 0, are
    larger in smaller levels, also where calibration is the same. AUROC depends on how alike the people of a level are.

    Fails with `ParameterError` for a level out of range and unknown names; what cannot be told is NaN with its reason.
    """
    refuse([*level_faults(level), *(f for name in names for f in choice_faults("names", name, MEASURES))])
    draws = np.full((1 + len(sample.counts), len(sample.levels), len(names)), np.nan)
    for at, group in enumerate(sample.levels):
        if group.refusal:
            continue
        weights = np.ones((1 + len(sample.counts), len(group.rows)), dtype=sample.counts.dtype)
        weights[1:] = sample.counts[:, group.rows]
        found = compute_measures(sample.risk[group.rows], sample.outcome[group.rows], counts=weights, names=names)
        draws[:, at] = np.column_stack([found[name] for name in names])
    shape = draws.shape[1:]
    people = np.repeat([[float(group.n_people)] for group in sample.levels], len(names), axis=1)
    events = np.repeat([[float(group.n_events)] for group in sample.levels], len(names), axis=1)
    reasons = np.full(shape, "", dtype=object)
    for at, group in enumerate(sample.levels):
        for j, name in enumerate(names):
            reasons[at, j] = group.refusal or ("" if np.isfinite(draws[0, at, j]) else _undefined(group, name))
    se = compute_draw_errors(draws[1:], people)
    z = float(norm.ppf(0.5 + level / 2))
    ends = [_ends(name, draws[0, :, j], z * se[:, j]) for j, name in enumerate(names)]
    lower, upper = (np.column_stack([end[side] for end in ends]) for side in (0, 1))
    lower = _from_nought(sample, names, lower, level)
    return GroupEstimates(
        sample.levels, tuple(names), draws[0], se, lower, upper, draws[1:], reasons, people, events, level,
        (*_size_checks(sample), _interval_check(draws[0], lower)),
    )  # fmt: skip


def estimate_group_gaps(found: GroupEstimates, *, names: Sequence[str] | None = None) -> tuple[GroupGap, ...]:
    r"""The largest gap between levels in each measure (or those of `names`), for each characteristic.

    With \(\hat d_{ab}\) the difference of a pair, \(s_{ab}\) the standard deviation of its draws and c the quantile at
    `level` of \(\max_{ab} |d^*_{ab} - \hat d_{ab}| / s_{ab}\) over draws, \(\hat d_{ab} \pm c\, s_{ab}\) hold all true
    differences at once (Hothorn, Bretz and Westfall 2008, Biom J 50:346, with the bootstrap for the joint
    distribution). The largest true difference then lies between \(\max_{ab} (|\hat d_{ab}| - c\, s_{ab})\), or 0, and
    \(\max_{ab} (|\hat d_{ab}| + c\, s_{ab})\). The p-value is the share of draws whose maximum reaches
    \(\max_{ab} |\hat d_{ab}| / s_{ab}\), one added above and below (Davison and Hinkley 1997, equation 4.11).
    Measures and characteristics are not taken together: with twenty of them one gap in twenty is found by chance.

    Refused levels take no part. Fails with `ParameterError` for unknown names.
    """
    wanted = found.names if names is None else tuple(names)
    allowed = ", ".join(found.names)
    refuse(Fault("gaps", "unknown measure", name, allowed) for name in wanted if name not in found.names)
    characteristics = dict.fromkeys(group.characteristic for group in found.levels)
    return tuple(_largest_gap(found, characteristic, name) for characteristic in characteristics for name in wanted)


def compute_draw_errors(draws: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Standard deviation (L, M) of draws (B, L, M), for `people` (L, M); NaN where too few draws are defined."""
    defined = np.isfinite(draws)
    kept = np.where(defined, draws, 0.0)
    n = np.maximum(defined.sum(axis=0), 2)
    mean = kept.sum(axis=0) / n
    spread = np.where(defined, draws - mean, 0.0)
    factor = people / np.maximum(people - 1, 1)
    se = np.sqrt((spread**2).sum(axis=0) / (n - 1) * factor)
    return np.where(defined.mean(axis=0) >= _DEFINED, se, np.nan)


# ---- levels --------------------------------------------------------------------------------------


def _level_order(name: str) -> tuple[bool, list[tuple[bool, int, str]]]:
    """Numbers within text in their order (2 before 10), and what is not recorded last."""
    parts = re.split(r"(\d+)", name)
    return name == NOT_RECORDED, [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts if p]


def _build_level(
    characteristic: str, name: str, rows: np.ndarray, outcome: np.ndarray, person: np.ndarray
) -> GroupLevel:
    events, people = int(outcome[rows].sum()), len(np.unique(person[rows]))
    short = {
        f"people (fewer than {FEWEST_PEOPLE})": people < FEWEST_PEOPLE,
        f"discharges with the outcome (fewer than {FEWEST_EVENTS})": events < FEWEST_EVENTS,
        f"discharges without the outcome (fewer than {FEWEST_EVENTS})": len(rows) - events < FEWEST_EVENTS,
    }
    few = [what for what, is_so in short.items() if is_so]
    refusal = ""
    if few:
        step = "Join it with another level where that makes sense, or wait for more discharges."
        refusal = NotEstimable(Fault(f'{characteristic} "{name}"', f"too few {few[0]}", next_step=step)).reason
    return GroupLevel(characteristic, name, rows, people, events, refusal)


def _undefined(group: GroupLevel, name: str) -> str:
    return f'{name.replace("_", " ")} is undefined for these risks in {group.characteristic} "{group.name}".'


def _size_checks(sample: GroupSample) -> tuple[Check, ...]:
    small = [level for level in sample.levels if level.refusal]
    thin = [
        level for level in sample.levels
        if not level.refusal and min(level.n_events, level.n_discharges - level.n_events) < ADVISED_EVENTS
    ]  # fmt: skip
    return (
        Check(
            "groups_large_enough",
            passed=not small,
            value=float(len(small)),
            text=f"Too few people or outcomes to tell anything: {_names(small)}." if small else "No level is refused.",
        ),
        Check(
            "groups_advised_size",
            passed=not thin,
            value=float(len(thin)),
            text=f"Fewer than {ADVISED_EVENTS} outcomes, so that little is known: {_names(thin)}."
            if thin
            else f"Each level shown has {ADVISED_EVENTS} or more discharges with the outcome and without it.",
        ),
    )


def _names(levels: Sequence[GroupLevel]) -> str:
    return "; ".join(f'{level.characteristic} "{level.name}"' for level in levels)


def _interval_check(values: np.ndarray, lower: np.ndarray) -> Check:
    without = int((np.isfinite(values) & ~np.isfinite(lower)).sum())
    text = "Some measures have no interval: too few draws of people defined them, or they did not vary."
    return Check(
        "group_intervals", not without, float(without), text if without else "Each measure shown has an interval."
    )


# ---- intervals -----------------------------------------------------------------------------------


def _from_nought(sample: GroupSample, names: Sequence[str], lower: np.ndarray, level: float) -> np.ndarray:
    """Interval ends with those of distances at 0 in levels whose risks are not found to be wrong."""
    lower = lower.copy()
    columns = [j for j, name in enumerate(names) if name in DISTANCES]
    for at, group in enumerate(sample.levels):
        if group.refusal or not columns:
            continue
        people = np.unique(sample.person[group.rows], return_inverse=True)[1]
        test = compute_calibration_test(sample.risk[group.rows], sample.outcome[group.rows], cluster=people)
        if not test.p_value <= 1 - level:
            lower[at, columns] = np.where(np.isfinite(lower[at, columns]), 0.0, np.nan)
    return lower


def _ends(name: str, values: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval ends (L,) of values (L,) that may go as far as `reach` (L,) on their own scale."""
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    most = 1.0 if name in _LOGIT else math.inf
    least = 0.0 if name in _LOGIT or name in _LOG else -math.inf
    good = np.isfinite(values) & (reach > 0) & (values > least) & (values < most)
    at, step = values[good], reach[good]
    if name in _LOGIT:
        odds, far = at / (1 - at), np.exp(step / (at * (1 - at)))
        low[good], high[good] = odds / (far + odds), odds / (1 / far + odds)
    elif name in _LOG:
        low[good], high[good] = at * np.exp(-step / at), at * np.exp(step / at)
    else:
        low[good] = np.maximum(at - step, 0.0 if name in FOLLOWS_SIZE else -math.inf)
        high[good] = np.minimum(at + step, 1.0 if name == "scaled_brier" else math.inf)
    return low, high


def _largest_gap(found: GroupEstimates, characteristic: str, name: str) -> GroupGap:
    at = found.names.index(name)
    told = [i for i in found.places(characteristic) if np.isfinite(found.values[i, at]) and found.se[i, at] > 0]
    if len(told) < 2:
        reason = f"Fewer than two levels of {characteristic} can be compared."
        return GroupGap(characteristic, name, "", "", *(math.nan,) * 3, found.level, *(math.nan,) * 4, reason)
    values, draws = found.values[told, at], found.draws[:, told, at]
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(draws) < _DEFINED * len(found.draws):
        reason = f"Too few draws of people define it in all levels of {characteristic}."
        return GroupGap(characteristic, name, "", "", *(math.nan,) * 3, found.level, *(math.nan,) * 4, reason)
    first, second = np.array(list(combinations(range(len(told)), 2))).T
    gaps, noise = _pairs(values, draws, first, second)
    se = noise.std(axis=0, ddof=1)
    if not (se > 0).all():
        reason = f"Two levels of {characteristic} do not vary apart from each other."
        return GroupGap(characteristic, name, "", "", *(math.nan,) * 3, found.level, *(math.nan,) * 4, reason)
    largest = np.max(np.abs(noise) / se, axis=1)
    reach = float(np.quantile(largest, found.level, method="higher")) * se
    top, bottom = told[int(np.argmax(values))], told[int(np.argmin(values))]
    return GroupGap(
        characteristic, name, found.levels[top].name, found.levels[bottom].name,
        value=float(np.abs(gaps).max()),
        lower=max(float((np.abs(gaps) - reach).max()), 0.0),
        upper=float((np.abs(gaps) + reach).max()),
        level=found.level,
        if_equal=float(np.abs(noise).max(axis=1).mean()),
        p_value=float((1 + np.sum(largest >= np.max(np.abs(gaps) / se))) / (1 + len(largest))),
        n_people=float(found.n_people[[top, bottom], at].min()),
        n_events=float(found.n_events[[top, bottom], at].min()),
        reason="",
    )  # fmt: skip


def _pairs(
    values: np.ndarray, draws: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Differences of pairs (P,), and how far those of the draws (B, P) are from them."""
    gaps = values[first] - values[second]
    return gaps, draws[:, first] - draws[:, second] - gaps
