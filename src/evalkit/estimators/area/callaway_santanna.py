"""Callaway and Sant'Anna: which cohorts are compared with whom, and when; Sun and Abraham as a case of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check
from evalkit.estimators.area.group_time import GroupTimeEffects, StaggeredOptions, Timing, build_effects, name_period
from evalkit.estimators.area.group_time_cells import compute_cells


def compute_callaway_santanna(panel: Panel, timing: Timing, options: StaggeredOptions) -> GroupTimeEffects:
    """Effects by cohort and period against never- or not-yet-treated units.

    Standard errors are the analytic ones of R's `did` with `bstrap=FALSE`. As there, covariates and
    weights are read at the earlier of the two periods compared, effects before adoption with a varying
    base are against the period before, and where no unit is never treated the last cohort is only
    compared with (a failed check says so).
    """
    if options.controls == "never_treated" and panel.treated.all():
        raise NotEstimable(
            Fault(
                "panel",
                "every unit is treated, so never-treated units cannot be compared with",
                next_step='Use controls="not_yet_treated" with method="callaway_santanna".',
            )
        )
    cells, lost = _cells(panel, timing, options)
    if not len(cells):
        raise NotEstimable(Fault("panel", "no cohort has a treated period in which others are still untreated"))
    value, influence, problems = _fit(panel, timing, cells, options)
    if np.isnan(value[cells[:, 1] >= timing.cohorts[cells[:, 0]]]).all():
        raise NotEstimable([Fault("cohorts", text) for text in dict.fromkeys(problems.values())])
    checks = []
    if problems:
        why = "; ".join(dict.fromkeys(problems.values()))
        text = f"{len(problems)} of {len(cells)} effects by cohort and period are left out: {why}."
        checks.append(Check("cells_left_out", False, float(len(problems)), text))
    if lost:
        text = f"Nobody untreated is left to compare with, so these are not estimated: {'; '.join(lost)}."
        checks.append(Check("comparison_lost", False, float(len(lost)), text))
    return build_effects(panel, timing, cells, value, influence, options=options, checks=tuple(checks))


def compute_sun_abraham(panel: Panel, timing: Timing, options: StaggeredOptions) -> GroupTimeEffects:
    """Cohort-by-time effects of the saturated two-way regression; averages take cohort shares as known.

    On a balanced panel with never-treated units and weights that stay the same over time, each
    coefficient is a difference of mean changes from the reference period, and its cluster-robust error
    that of the units' influence; no regression need be run. The small-sample factor counts coefficients
    and periods but not unit effects, which lie within clusters (as R's fixest).
    """
    if not (panel.weights == panel.weights[:, :1]).all():
        raise ParameterError(Fault("weights", "Sun-Abraham is offered for weights that stay the same over time"))
    plain = compute_callaway_santanna(panel, timing, replace(options, base="universal", adjustment="regression"))
    cells = np.stack(
        [plain.cell_cohort, *(np.searchsorted(panel.periods, p) for p in (plain.period, plain.base))], axis=1
    )
    coefficients = int((cells[:, 1] != cells[:, 2]).sum()) + len(panel.periods)
    return build_effects(
        panel, timing, cells, plain.value, plain.influence.T, options=options, checks=(), coefficients=coefficients
    )


def _cells(panel: Panel, timing: Timing, options: StaggeredOptions) -> tuple[np.ndarray, list[str]]:
    """Cohort number, place and base place of each cell with someone to compare with, shape (C, 3); what is lost."""
    cells, lost = [], []
    latest = timing.first.max()
    for number, g in enumerate(timing.cohorts):
        settled = g - 1 - timing.ahead
        if options.base == "universal":
            pairs = [(number, t, settled) for t in range(len(panel.periods))]
        else:
            pairs = [(number, t, t - 1 if t < g else settled) for t in range(1, len(panel.periods))]
        # Someone is left while the last unit to adopt has not yet done so, nor foresees it.
        kept = [c for c in pairs if c[1] == c[2] or (max(c[1:]) + timing.ahead < latest and g != latest)]
        if not any(t >= g for _, t, _ in kept):
            lost.append(f"all of the cohort of {name_period(panel.periods[g])}")
            continue
        if len(kept) < len(pairs):
            gone = [t for _, t, b in pairs if (number, t, b) not in kept]
            lost.append(f"the cohort of {name_period(panel.periods[g])} from {name_period(panel.periods[min(gone)])}")
        cells += kept
    return np.array(cells, np.int64).reshape(-1, 3), lost


def _fit(
    panel: Panel, timing: Timing, cells: np.ndarray, options: StaggeredOptions
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Values (C,), influence (C, J), and the problem of each cell that has one.

    Cells that compare the same units with the same covariates are one block: one logit, one regression.
    """
    values = np.ascontiguousarray(panel.values.T)
    chosen = [panel.covariate_names.index(name) for name in options.covariates]
    covariates = panel.covariates[:, :, chosen]
    fixed = bool((covariates == covariates[:, :1]).all() and (panel.weights == panel.weights[:, :1]).all())
    value, influence = np.zeros(len(cells)), np.zeros((len(cells), len(panel.units)))
    problems: dict[int, str] = {}
    blocks: dict[tuple[int, int, int], list[int]] = {}
    untreated = np.sort(timing.first)
    for index, (number, place, base) in enumerate(cells):
        if place == base:
            continue
        until = max(place, base) + timing.ahead
        left = 0 if options.controls == "never_treated" else int(np.searchsorted(untreated, until, side="right"))
        blocks.setdefault((number, left, 0 if fixed else min(place, base)), []).append(index)
    for (number, _, at), members in blocks.items():
        until = cells[members, 1:].max() + timing.ahead
        others = ~panel.treated if options.controls == "never_treated" else timing.first > until
        mine = timing.cohort == number
        rows = np.flatnonzero(mine | others)
        fit = compute_cells(
            values[cells[members, 1]][:, rows] - values[cells[members, 2]][:, rows],
            treated=mine[rows],
            covariates=covariates[rows, at],
            weights=panel.weights[rows, at],
            adjustment=options.adjustment,
        )
        value[members] = fit.value
        # The cell's error is one of m units; scale it up so that all cells' are of J.
        influence[np.ix_(members, rows)] = fit.influence * (len(panel.units) / len(rows))
        if fit.problem:
            problems |= dict.fromkeys(members, fit.problem)
    return value, influence, problems
