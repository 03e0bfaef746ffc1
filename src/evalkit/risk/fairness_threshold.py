"""What acting on one threshold does to each group, and which criteria of fairness cannot hold together there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.fairness import (
    FEWEST_PEOPLE,
    GroupEstimates,
    GroupLevel,
    GroupSample,
    compute_draw_errors,
    estimate_group_gaps,
)
from evalkit.risk.validate import wilson_interval

# The share readmitted, which no threshold changes; the criteria of fairness turn on it.
BASE_RATE = "came_back_per_100"
FlagBy = Literal["risk", "share"]

# Each rate: what it is out of, and the counts on top and below (columns of `_Tally`).
THRESHOLD_LABELS: dict[str, str] = {
    "flagged_per_100": "Flagged, of 100 discharges",
    "came_back_per_100": "Readmitted, of 100 discharges",
    "sensitivity": "Flagged, of those who came back (sensitivity)",
    "false_negative_rate": "Not flagged, of those who came back (false negative rate)",
    "false_positive_rate": "Flagged, of those who did not come back (false positive rate)",
    "ppv": "Came back, of those flagged (positive predictive value)",
    "npv": "Did not come back, of those not flagged (negative predictive value)",
}
# Places in a tally: 0 not flagged and well, 1 not flagged and came back, 2 flagged and well, 3 flagged and came back.
_RATES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "flagged_per_100": ((2, 3), (0, 1, 2, 3)),
    "came_back_per_100": ((1, 3), (0, 1, 2, 3)),
    "sensitivity": ((3,), (1, 3)),
    "false_negative_rate": ((1,), (1, 3)),
    "false_positive_rate": ((2,), (0, 2)),
    "ppv": ((3,), (2, 3)),
    "npv": ((0,), (0, 1)),
}
_BELOW = {(0, 1, 2, 3): "discharges", (1, 3): "discharges with the outcome", (0, 2): "discharges without the outcome",
          (2, 3): "flagged discharges", (0, 1): "discharges that are not flagged"}  # fmt: skip


@dataclass(frozen=True)
class FlagRule:
    """Who is flagged: `by` "risk", everybody whose risk is `cut` or more; `by` "share", the `cut` highest of all.

    A share is of all discharges, not of each level. Where discharges tie at its cut, a part of them is flagged at
    random; numbers are what that gives on average, as in `threshold_table`.
    """

    by: FlagBy
    cut: float

    def __post_init__(self) -> None:
        faults = choice_faults("FlagRule by", self.by, ("risk", "share"))
        if not (is_finite(self.cut) and 0 < self.cut < 1):
            faults.append(Fault("FlagRule cut", "is out of range", str(self.cut), "between 0 and 1"))
        refuse(faults)


@dataclass(frozen=True)
class GroupConflict:
    """What base rates leave open in one characteristic; tuples have one entry a level of `levels`.

    Numbers of a refused level are NaN, and its `reasons` entry says why; "" elsewhere. `base_rate` is the share
    readmitted; `fpr_needed` the false positive rate that each level would need for all to have the sensitivity and the
    positive predictive value of everybody together; above 1 it cannot be had at all. `mean_risk_events` and
    `mean_risk_others` are mean risks among those who came back and those who did not; `others_needed` the mean among
    the latter that risks calibrated in each level would need for the former to be the same in all. `differ` is True
    where base rates are found to differ, False where not, None where nothing is known.
    """

    characteristic: str
    levels: tuple[str, ...]
    base_rate: tuple[float, ...]
    fpr_needed: tuple[float, ...]
    mean_risk_events: tuple[float, ...]
    mean_risk_others: tuple[float, ...]
    others_needed: tuple[float, ...]
    n_people: tuple[int, ...]
    n_events: tuple[int, ...]
    reasons: tuple[str, ...]
    differ: bool | None
    p_value: float
    text: str


def estimate_group_threshold(sample: GroupSample, rule: FlagRule, *, level: float = 0.95) -> GroupEstimates:
    r"""What `rule` does to each level: the rates of `THRESHOLD_LABELS` with intervals from the draws of people.

    A share is cut anew in each draw, as a team would do. Intervals are Wilson's (1927) for the number of independent
    discharges that would have the bootstrap's error, \(n^* = \min(n, \hat p (1 - \hat p) / s^2)\), and for the
    number of people where the rate is 0 or 1: they stay between 0 and 1 and are never of no width.
    `n_people` are those in the rate's denominator, `n_events` the discharges in its numerator. A rate with fewer than
    10 people in its denominator is refused.

    Fails with `ParameterError` for a level outside 0 to 1.
    """
    refuse(level_faults(level))
    cuts = _find_cuts(sample, rule)
    tallies = _tally(sample, cuts)
    names = tuple(_RATES)
    top, below = (
        np.stack([tallies[..., list(_RATES[name][part])].sum(axis=-1) for name in names], axis=-1) for part in (0, 1)
    )
    rates = np.divide(top, below, out=np.full(top.shape, np.nan), where=below > 0)
    people = _count_people(sample, cuts)
    reasons = np.full(rates.shape[1:], "", dtype=object)
    for at, group in enumerate(sample.levels):
        for j, name in enumerate(names):
            few = f'{group.characteristic} "{group.name}": fewer than {FEWEST_PEOPLE} people among its '
            short = few + f"{_BELOW[_RATES[name][1]]}." if people[at, j] < FEWEST_PEOPLE else ""
            reasons[at, j] = group.refusal or short
    rates[:, reasons != ""] = np.nan
    se = compute_draw_errors(rates[1:], people)
    lower, upper = _wilson(rates[0], se, below[0], people, level)
    scale = np.array([100.0 if name.endswith("_per_100") else 1.0 for name in names])
    small = sorted({_named(sample, at) for at in np.flatnonzero((reasons != "").any(axis=1))})
    text = f"Some rates have too few people: {'; '.join(small)}." if small else "Each rate has enough people."
    check = Check("group_threshold_large_enough", not small, float(len(small)), text)
    return GroupEstimates(
        sample.levels, names, scale * rates[0], scale * se, scale * lower, scale * upper, scale * rates[1:], reasons,
        people, np.round(top[0]), level, (check,),
    )  # fmt: skip


def describe_conflicts(sample: GroupSample, at_threshold: GroupEstimates) -> tuple[GroupConflict, ...]:
    r"""Which criteria of fairness cannot hold together, for each characteristic, given its base rates.

    With base rate p, \(FPR = \frac{p}{1 - p} \frac{1 - PPV}{PPV} (1 - FNR)\) (Chouldechova 2017, Big Data 5:153,
    equation 2.6): where p differs, one PPV and one FNR for all levels mean that FPR differs. Risks calibrated in a
    level have \(p = p \mu_1 + (1 - p) \mu_0\), with \(\mu_1\) and \(\mu_0\) the mean risk of those who came back and
    of those who did not: where p differs, the two cannot both be the same in all levels unless prediction is perfect
    (Kleinberg, Mullainathan and Raghavan 2016, arXiv:1609.05807, theorem 1.1). Both are arithmetic, whatever the
    model; the data only say whether p differs, by the bootstrap test of equality of `estimate_group_gaps`.
    """
    gaps = {g.characteristic: g for g in estimate_group_gaps(at_threshold, names=[BASE_RATE])}
    return tuple(_conflict(sample, at_threshold, gaps[name].p_value, name) for name in sample.characteristics)


def conflict_checks(conflicts: Sequence[GroupConflict]) -> tuple[Check, ...]:
    """One check a characteristic, which informs: the plain statement; its value is the p-value of equal base rates."""
    return tuple(Check(f"criteria_{found.characteristic}", None, found.p_value, found.text) for found in conflicts)


# ---- counts --------------------------------------------------------------------------------------


class _Cuts(NamedTuple):
    """Places in the ascending risks, in the sample itself and in each draw, all (1 + B,).

    From `high` all are flagged; from `low` to `high`, who tie at the cut, `part` of them.
    """

    low: np.ndarray
    high: np.ndarray
    part: np.ndarray


def _find_cuts(sample: GroupSample, rule: FlagRule) -> _Cuts:
    draws = 1 + len(sample.counts)
    if rule.by == "risk":
        place = np.full(draws, np.searchsorted(sample.risk, rule.cut, side="left"))
        return _Cuts(place, place, np.ones(draws))
    low, high, part = np.empty(draws, dtype=np.int64), np.empty(draws, dtype=np.int64), np.empty(draws)
    for b in range(draws):
        weights = np.ones(len(sample.risk), dtype=np.int64) if b == 0 else sample.counts[b - 1]
        below = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
        wanted = rule.cut * below[-1]
        last = np.searchsorted(below, below[-1] - wanted + 1e-9, side="right") - 1
        border = sample.risk[last]
        low[b], high[b] = np.searchsorted(sample.risk, border, "left"), np.searchsorted(sample.risk, border, "right")
        tied = below[high[b]] - below[low[b]]
        part[b] = (wanted - (below[-1] - below[high[b]])) / tied
    return _Cuts(low, high, part)


def _tally(sample: GroupSample, cuts: _Cuts) -> np.ndarray:
    """Discharges by draw, level, and flagged and outcome, (1 + B, L, 4)."""
    parts = []
    for characteristic in sample.characteristics:
        places = [i for i, group in enumerate(sample.levels) if group.characteristic == characteristic]
        codes = np.empty(len(sample.risk), dtype=np.int64)
        for code, place in enumerate(places):
            codes[sample.levels[place].rows] = 2 * code
        codes += sample.outcome
        size = 2 * len(places)
        found = np.empty((len(cuts.part), len(places), 4))
        for b, (low, high, part) in enumerate(zip(*cuts, strict=True)):
            weights = np.ones(len(codes)) if b == 0 else sample.counts[b - 1].astype(np.float64)
            below = np.bincount(codes[:low], weights[:low], size)
            tied = np.bincount(codes[low:high], weights[low:high], size)
            above = np.bincount(codes[high:], weights[high:], size)
            found[b, :, :2] = (below + (1 - part) * tied).reshape(-1, 2)
            found[b, :, 2:] = (above + part * tied).reshape(-1, 2)
        parts.append(found)
    return np.concatenate(parts, axis=1)


def _count_people(sample: GroupSample, cuts: _Cuts) -> np.ndarray:
    """People in the denominator of each rate, (L, M); who ties at the cut may stand on either side of it."""
    people = np.empty((len(sample.levels), len(_RATES)))
    for at, group in enumerate(sample.levels):
        event = sample.outcome[group.rows]
        flagged = group.rows >= (cuts.low[0] if cuts.part[0] > 0 else cuts.high[0])
        passed = group.rows < (cuts.high[0] if cuts.part[0] < 1 else cuts.low[0])
        states = (passed & (event == 0), passed & (event == 1), flagged & (event == 0), flagged & (event == 1))
        for j, (_, below) in enumerate(_RATES.values()):
            held = np.any([states[k] for k in below], axis=0)
            people[at, j] = len(np.unique(sample.person[group.rows[held]]))
    return people


def _wilson(
    rate: np.ndarray, se: np.ndarray, below: np.ndarray, people: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    inside = np.isfinite(se) & (se > 0) & (rate > 0) & (rate < 1)
    alike = np.divide(rate * (1 - rate), se**2, out=np.full(rate.shape, np.nan), where=inside)
    n = np.where(inside, np.minimum(alike, below), people.astype(np.float64))
    told = np.isfinite(rate) & (n > 0) & (inside | (rate == 0) | (rate == 1))
    low, high = np.full(rate.shape, np.nan), np.full(rate.shape, np.nan)
    low[told], high[told] = wilson_interval(rate[told] * n[told], n[told], level=level)
    return low, high


def _named(sample: GroupSample, at: int) -> str:
    return f'{sample.levels[at].characteristic} "{sample.levels[at].name}"'


# ---- criteria ------------------------------------------------------------------------------------


def _conflict(sample: GroupSample, found: GroupEstimates, p_value: float, characteristic: str) -> GroupConflict:
    groups = [found.levels[i] for i in found.places(characteristic)]
    base, of_events, of_others = np.array([_mean_risks(sample, group) for group in groups]).T
    sensitivity, ppv = _overall(found, characteristic, "sensitivity"), _overall(found, characteristic, "ppv")
    odds = base / (1 - base)
    needed = odds * (1 - ppv) / ppv * sensitivity if ppv > 0 else np.full(len(base), math.nan)
    others_needed = odds * (1 - sample.risk[sample.outcome == 1].mean())
    differ = None if math.isnan(p_value) else bool(p_value < 1 - found.level)
    names = tuple(group.name for group in groups)
    return GroupConflict(
        characteristic, names, *(tuple(v.tolist()) for v in (base, needed, of_events, of_others, others_needed)),
        tuple(group.n_people for group in groups), tuple(group.n_events for group in groups),
        tuple(group.refusal for group in groups), differ, p_value,
        _conflict_text(characteristic, names, base, needed, p_value, found.level),
    )  # fmt: skip


def _mean_risks(sample: GroupSample, group: GroupLevel) -> tuple[float, float, float]:
    """The share readmitted, and the mean risk of those who came back and of those who did not."""
    if group.refusal:
        return math.nan, math.nan, math.nan
    risk, event = sample.risk[group.rows], sample.outcome[group.rows] == 1
    return float(event.mean()), float(risk[event].mean()), float(risk[~event].mean())


def _overall(found: GroupEstimates, characteristic: str, name: str) -> float:
    """A rate of all discharges together: counts on top and below summed over the levels."""
    places, at = found.places(characteristic), found.names.index(name)
    top = found.n_events[places, at].sum()  # whole discharges: ties at a cut may make it half a discharge more
    other = found.names.index("false_negative_rate")
    if name == "sensitivity":
        below = top + found.n_events[places, other].sum()
    else:
        below = top + found.n_events[places, found.names.index("false_positive_rate")].sum()
    return float(top / below) if below > 0 else math.nan


def _conflict_text(
    characteristic: str, names: tuple[str, ...], base: np.ndarray, needed: np.ndarray, p_value: float, level: float
) -> str:
    """Names of levels and no numbers: those stand in cells, where the gate can round them."""
    said = characteristic.replace("_", " ")
    if math.isnan(p_value):
        return f"Whether the share readmitted differs by {said} cannot be told."
    if p_value >= 1 - level:
        return (
            f"The share readmitted is not found to differ by {said}: as far as these data tell, equal predictive "
            "values, equal error rates and calibration in each level do not rule each other out."
        )
    high, low = names[int(np.nanargmax(base))], names[int(np.nanargmin(base))]
    tail = " For some level that rate would be above 100%." if np.any(needed > 1) else ""
    return (
        f'The share readmitted differs by {said}, from "{low}" (lowest) to "{high}" (highest). One positive predictive '
        f"value and one sensitivity for all levels would therefore mean different false positive rates, the highest "
        f'in "{high}" (Chouldechova 2017).{tail} And risks that are calibrated in each level cannot also have the '
        "same mean among those who came back and the same mean among those who did not, in each level (Kleinberg et "
        "al. 2016). Which of these to give up is for the service to decide, and to say."
    )
