"""Which comparisons a two-way fixed effects estimate is made of, and how much each weighs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.estimators.area.did_cells import adoption_places

KINDS = ("treated_vs_never", "earlier_vs_later", "later_vs_earlier")


def compute_bacon(panel: Panel) -> pd.DataFrame:
    """Every two-by-two comparison in the two-way fixed effects estimate of `panel.values`, and its weight.

    The weights add to 1 and the weighted sum is the value of `estimate_did` without covariates, weights or
    anticipation. Comparisons of kind "later_vs_earlier" hold
    units already treated as if they were untreated: their weight is how much of the estimate is wrong
    wherever effects grow or fade.

    Returns
    -------
    DataFrame, one row a comparison: `treated`, `control` (adoption periods; null for never), `kind` (one of
    `KINDS`), `estimate`, `weight`.

    Raises
    ------
    ParameterError
        Unequal weights: the decomposition is of the unweighted regression without covariates.
    NotEstimable
        One adoption period and no unit never treated, so that there is nothing to compare. Adoption within
        a period: the regression leaves that unit-period out, and the theorem needs every one.

    References
    ----------
    Goodman-Bacon 2021, J. Econometrics 225:254, theorem 1 and eq. 10e-10g.
    """
    if not np.all(panel.weights == panel.weights.flat[0]):
        raise ParameterError(Fault("panel", "the decomposition is of the unweighted regression, and it has weights"))
    after, within = adoption_places(panel)
    inside = int((after[panel.treated] != within[panel.treated]).sum())
    if inside:
        raise NotEstimable(
            Fault(
                "panel",
                "adoption falls within a period, which the regression leaves out and the decomposition cannot",
                got=f"{inside} units",
                next_step="Set adoption to the first day of a period, or begin periods with adoption.",
            )
        )
    places = after[panel.treated].astype(np.int64)
    n_periods = len(panel.periods)
    if len(places) and not (places.min() > 0 and places.max() < n_periods):
        raise NotEstimable(Fault("panel", "a treated unit has no period before adoption, or none after"))
    groups = [_group(panel, np.flatnonzero(panel.treated)[places == place], int(place)) for place in np.unique(places)]
    never = np.flatnonzero(~panel.treated)
    rows = [_against_never(g, _group(panel, never, n_periods), n_periods) for g in groups] if len(never) else []
    for i, early in enumerate(groups):
        for late in groups[i + 1 :]:
            rows += [_early_against_late(early, late), _late_against_early(early, late, n_periods)]
    if not rows:
        raise NotEstimable(Fault("panel", "every unit is treated at one time, or none is; there is nothing to compare"))
    table = pd.DataFrame(rows, columns=["treated", "control", "kind", "estimate", "weight"])
    first, second = table["treated"].to_numpy(), table["control"].to_numpy()
    starts = np.append(panel.periods, np.zeros(1, panel.periods.dtype))
    return table.assign(
        treated=starts[first],
        control=pd.Series(starts[second]).where(second < n_periods),
        weight=table["weight"] / table["weight"].sum(),
    )


@dataclass(frozen=True)
class _Group:
    """Units adopting at one place: `size`, `first` treated period (T for never), mean outcome `path` (T,)."""

    size: int
    first: int
    path: np.ndarray

    def change(self, before: slice, after: slice) -> float:
        return float(self.path[after].mean() - self.path[before].mean())


def _group(panel: Panel, units: np.ndarray, first: int) -> _Group:
    return _Group(len(units), first, panel.values[units].mean(axis=0))


def _weight(a: _Group, b: _Group, share_window: float, share_after: float) -> float:
    """Squared size of the sample times variance of treatment in it, up to a factor common to all comparisons.

    `share_window`: of all periods, those compared; `share_after`: of those, periods after the switch.
    """
    both = a.size + b.size
    return (both * share_window) ** 2 * (a.size / both) * (b.size / both) * share_after * (1 - share_after)


def _against_never(group: _Group, never: _Group, n_periods: int) -> tuple[int, int, str, float, float]:
    before, after = slice(0, group.first), slice(group.first, n_periods)
    estimate = group.change(before, after) - never.change(before, after)
    weight = _weight(group, never, 1.0, 1 - group.first / n_periods)
    return group.first, never.first, "treated_vs_never", estimate, weight


def _early_against_late(early: _Group, late: _Group) -> tuple[int, int, str, float, float]:
    """Those early against those not yet treated, up to the later adoption."""
    before, after = slice(0, early.first), slice(early.first, late.first)
    estimate = early.change(before, after) - late.change(before, after)
    n_periods = len(early.path)
    weight = _weight(early, late, late.first / n_periods, 1 - early.first / late.first)
    return early.first, late.first, "earlier_vs_later", estimate, weight


def _late_against_early(early: _Group, late: _Group, n_periods: int) -> tuple[int, int, str, float, float]:
    """Those late against those already treated, from the earlier adoption."""
    before, after = slice(early.first, late.first), slice(late.first, n_periods)
    estimate = late.change(before, after) - early.change(before, after)
    window = n_periods - early.first
    weight = _weight(late, early, window / n_periods, (n_periods - late.first) / window)
    return late.first, early.first, "later_vs_earlier", estimate, weight
