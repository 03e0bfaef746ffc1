"""What a threshold means in people of 100: who is flagged, who of them comes back, who is missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.arrays import refuse_few, risk_faults
from evalkit.risk.decision import FEWEST_PEOPLE, sum_squares, threshold_faults
from evalkit.risk.validate import wilson_interval

QUANTITIES = ("flagged_per_100", "came_back_of_100_flagged", "found_of_100", "alarms_per_found")
# How far to either side of a cut, as a power of n, discharges tell the risk there.
_WINDOW = 0.8
# Of a variance: what is less is that of a number that does not vary, such as what a share finds where all risks tie.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ThresholdTable:
    """Rules and what they do, one row a rule of `frame`.

    `rule` "risk" (flag every risk of `value` or more) or "share" (flag the `value` of discharges with the highest
    risk); `cut` the lowest risk that is flagged; `tied` the share of discharges whose risk is that of the cut, part
    of whom a share leaves out. Then, each with `_lower` and `_upper`: `flagged_per_100` discharges;
    `came_back_of_100_flagged`; `found_of_100` who came back, the flagged; `alarms_per_found`, flagged in vain for
    each found. `flagged_people`, `flagged_events` stand behind them. What cannot be given is NaN; `reason` says why.
    """

    frame: pd.DataFrame
    level: float
    n_discharges: int
    n_people: int
    n_events: int
    checks: tuple[Check, ...]


def compute_threshold_table(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    thresholds: Sequence[float] | np.ndarray = (),
    flagged_shares: Sequence[float] | np.ndarray = (),
    level: float = 0.95,
) -> ThresholdTable:
    """What flagging at risks of `thresholds`, and flagging the `flagged_shares` at highest risk, does to people.

    Where discharges tie at the cut of a share, a part of them is flagged at random: numbers are what that gives on
    average, the same for any order of rows.

    Intervals are Wilson's (1927) at the number of independent discharges that the error by person is worth (Korn and
    Graubard 1998, Surv Methodol 24:193), which stay between none and all; those of alarms per found follow from
    the share that came back, and what does not vary has none. A share's cut is an estimate too: a discharge moves it,
    and with it whoever stands there.

    Raises
    ------
    ParameterError
        Malformed arrays, risks outside 0 to 1, thresholds outside [0, 1), shares outside (0, 1), no rule at all.
    NotEstimable
        Fewer than 10 discharges with the outcome, or without it.
    """
    _check_arguments(risk, outcome, person, thresholds, flagged_shares, level)
    risk, outcome = np.asarray(risk, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    refuse_few(outcome)
    cluster = pd.factorize(np.asarray(person))[0]
    rows = [_describe("risk", at, risk >= at, risk, outcome, cluster, level) for at in thresholds]
    rows += [_describe("share", at, _flag_share(risk, at), risk, outcome, cluster, level) for at in flagged_shares]
    frame = pd.DataFrame(rows)
    people = int(cluster.max()) + 1
    return ThresholdTable(frame, level, len(risk), people, int(outcome.sum()), _checks(frame))


def _check_arguments(
    risk: np.ndarray, outcome: np.ndarray, person: np.ndarray, thresholds: object, shares: object, level: float
) -> None:
    faults = [*risk_faults(risk, outcome, person), *level_faults(level)]
    given = np.size(thresholds) + np.size(shares)
    if not given:
        faults.append(Fault("thresholds, flagged_shares", "both are empty", allowed="one rule or more"))
    faults += threshold_faults(thresholds) if np.size(thresholds) else []
    if np.size(shares):
        allowed = "above 0 and below 1, in order and each once"
        wrong = [Fault("flagged_shares", fault.what, fault.got, allowed) for fault in threshold_faults(shares)]
        if not wrong and np.min(shares) <= 0:
            wrong = [Fault("flagged_shares", "flag nobody", str(np.min(shares)), allowed)]
        faults += wrong
    refuse(faults)


def _flag_share(risk: np.ndarray, share: float) -> np.ndarray:
    """How far each discharge is flagged, (n,): 1 above the cut, 0 below it, and the part that is left on it."""
    order = np.sort(risk)[::-1]
    wanted = share * len(risk)
    cut = order[min(math.ceil(wanted - 1e-9), len(risk)) - 1]
    above, tied = (risk > cut).sum(), (risk == cut).sum()
    return np.where(risk > cut, 1.0, np.where(risk == cut, (wanted - above) / tied, 0.0))


def _describe(
    rule: str, value: float, flags: np.ndarray, risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, level: float
) -> dict[str, object]:
    flags = flags.astype(np.float64)
    flagged = flags > 0
    cut = float(risk[flagged].min()) if flagged.any() else math.nan
    edge = risk == cut
    people, events = len(np.unique(cluster[flagged])), int(outcome[flagged].sum())
    # What a discharge moves beside its own flag: the cut of a share, and with it who is flagged there.
    there = _outcome_at(risk, outcome, cut, edge) if rule == "share" else 0.0
    moved = flags - flags.mean() if rule == "share" else np.zeros(len(flags))
    whole = {"flagged": _whole(flags, cluster, level) if rule == "risk" else (flags.mean(), math.nan, math.nan)}
    whole["found"] = _ratio(flags * outcome, outcome, moved * there, cluster, level)
    enough = people >= FEWEST_PEOPLE
    came_back = (
        _ratio(flags * outcome, flags, moved * (there - _mean(outcome, flags)), cluster, level)
        if enough else (math.nan,) * 3
    )  # fmt: skip
    row: dict[str, object] = {"rule": rule, "value": float(value), "cut": cut, "tied": float(edge.mean())}
    row |= _columns("flagged_per_100", whole["flagged"], 100)
    row |= _columns("came_back_of_100_flagged", came_back, 100)
    row |= _columns("found_of_100", whole["found"], 100)
    odds = tuple(_odds_against(came_back[place]) for place in (0, 2, 1)) if events else (math.nan,) * 3
    row |= _columns("alarms_per_found", odds, 1)
    nobody = "" if events else "Nobody who is flagged came back."
    reason = nobody if enough else f"Fewer than {FEWEST_PEOPLE} people are flagged."
    return row | {"flagged_people": people, "flagged_events": events, "reason": reason}


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ values / weights.sum())


def _outcome_at(risk: np.ndarray, outcome: np.ndarray, cut: float, edge: np.ndarray) -> float:
    """The share with the outcome among those on the cut, or nearest to it where those are few."""
    near = max(math.ceil(len(risk) ** _WINDOW), FEWEST_PEOPLE)
    if edge.sum() >= near:
        return float(outcome[edge].mean())
    distance = np.abs(risk - cut)
    within = np.partition(distance, min(near, len(risk)) - 1)[min(near, len(risk)) - 1]
    return float(outcome[distance <= within].mean())


def _whole(flags: np.ndarray, cluster: np.ndarray, level: float) -> tuple[float, float, float]:
    return _ratio(flags, np.ones(len(flags)), np.zeros(len(flags)), cluster, level)


def _ratio(
    top: np.ndarray, bottom: np.ndarray, moved: np.ndarray, cluster: np.ndarray, level: float
) -> tuple[float, float, float]:
    """Share sum(top) / sum(bottom), rows tied by `cluster`, and its interval; `moved` is what a moving cut takes."""
    value = float(top.sum() / bottom.sum())
    influence = (top - value * bottom - moved) / bottom.sum()
    variance = float(sum_squares(influence[:, None], cluster)[0, 0])
    rows, spread = float(bottom.sum()), value * (1 - value)
    if value in (0.0, 1.0) and not math.isnan(variance):
        worth = float(len(np.unique(cluster[bottom > 0])))  # none or all: people are what there is to go by
    elif variance > _ROUNDING * spread / rows:
        worth = min(spread / variance, rows)
    else:
        return value, math.nan, math.nan
    low, high = wilson_interval(np.array([value * worth]), np.array([worth]), level=level)
    return value, float(low[0]), float(high[0])


def _odds_against(share: float) -> float:
    return (1 - share) / share if share > 0 else math.nan


def _columns(name: str, found: tuple[float, ...], unit: float) -> dict[str, float]:
    return {f"{name}{end}": unit * value for end, value in zip(("", "_lower", "_upper"), found, strict=True)}


def _checks(frame: pd.DataFrame) -> tuple[Check, ...]:
    few = int((frame["flagged_people"] < FEWEST_PEOPLE).sum())
    shares = frame[frame["rule"] == "share"]
    tied = float(shares["tied"].max()) if len(shares) else 0.0
    near = round(tied * 20) / 20
    words = "Fewer than 5%" if tied < 0.05 else f"About {near:.0%}"
    said = f"{words} of discharges share the risk of a cut at most; of them the flagged are chosen at random."
    return (
        Check("flagged_people", few == 0, float(few), f"{few} of {len(frame)} rules flag too few people for a number."),
        Check("tied_at_cut", tied < 0.05, near, said),
    )
