"""Rates by area under every other design that the protocol names, and the paths behind them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evalkit.analysis.blocks import PER_PERSON_YEARS, count_unit, shown_blocks
from evalkit.analysis.study import Study, attempt
from evalkit.cohort.area_counts import build_panel
from evalkit.cohort.panel import Panel
from evalkit.core.dates import period_label
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import RateOutcome
from evalkit.core.result import Cell, Estimate, Results, Role
from evalkit.estimators.area.its import ItsOptions, fit_its
from evalkit.estimators.area.registry import AreaEstimator, find_estimator
from evalkit.estimators.area.synthetic_control import (
    Method,
    SyntheticControlOptions,
    compute_paths,
    compute_placebo_paths,
)

WEIGHTED: tuple[Method, ...] = ("synthetic_control", "ridge_augmented", "synthetic_did")
_UNIT = f"per {PER_PERSON_YEARS} person-years"


def whole_panel(study: Study, outcome: RateOutcome) -> Panel:
    """The panel of an outcome over the baseline that the protocol gives it, anticipation included."""
    if study.protocol.exposure.by != "area":
        raise NotEstimable(Fault("protocol", "rates are compared by area, but exposure is by programme"))
    dates = study.protocol.dates
    start = dates.study_start if outcome.baseline == "whole" else dates.baseline_start
    return build_panel(study.tables, study.protocol, outcome).between(start, dates.end)


def design_panel(study: Study, outcome: RateOutcome) -> Panel:
    """The same less the periods of anticipation, which belong to neither side; NotEstimable as `build_panel`."""
    panel, dates = whole_panel(study, outcome), study.protocol.dates
    if dates.adoption is None:
        return panel
    # A period that anticipation or adoption enters half-way is left out whole, as the primary analysis leaves it.
    ahead, starts = np.datetime64(dates.anticipation_start), panel.periods.astype("datetime64[D]")
    touched = (panel.ends.astype("datetime64[D]") > ahead) & (starts < np.datetime64(dates.adoption))
    return panel.without(panel.periods[touched][0], panel.ends[touched][-1]) if touched.any() else panel


def events_behind(panel: Panel) -> float:
    """The treated areas' events before or after adoption, whichever is fewer: what disclosure control asks for."""
    after = panel.periods[None, :] >= panel.adoption[panel.treated][:, None]
    mine = panel.outcome[panel.treated]
    return float(min(mine[after].sum(), mine[~after].sum()))


def estimate_designs(study: Study, outcome: RateOutcome) -> list[Estimate]:
    """Every design that the protocol names, on the outcome's own scale; each stands with a reason if refused."""
    estimand = study.protocol.estimand(outcome)

    def run(entry: AreaEstimator) -> Estimate:
        panel = design_panel(study, outcome)
        role: Role = "sensitivity"
        found = entry.run(panel, estimand, study.level, study.rng(f"{outcome.key}.{entry.name}"), role)
        return replace(found, n_events=events_behind(panel))

    entries = [find_estimator(name) for name in study.protocol.robustness.designs]
    return [
        attempt(study, outcome, entry.name, "sensitivity", lambda entry=entry: run(entry), label=entry.label)
        for entry in entries
    ]


def describe_gaps(study: Study, outcome: RateOutcome) -> list[Results]:
    """Gaps to a synthetic control, the treated area's among those of every other area in its place."""
    return [described(study, outcome, "gap", _gap_cells)]


def describe_paths(study: Study, outcome: RateOutcome) -> list[Results]:
    """Synthetic path, weights of three designs, and the controlled interrupted series."""
    makers = {"synthetic": _synthetic_cells, "weights": _weight_cells, "its": _its_cells}
    return [described(study, outcome, name, make) for name, make in makers.items()]


def described(
    study: Study, outcome: RateOutcome, name: str, make: Callable[[Study, RateOutcome], list[Cell]]
) -> Results:
    """The table `<name>.<outcome>`, or one row that says why there is none."""
    try:
        cells = make(study, outcome)
    except NotEstimable as refusal:
        cells = [Cell("refused", "reason", math.nan, "statistic", status="not_estimable", reason=refusal.reason)]
    return Results.from_cells(f"{name}.{outcome.key}", cells, outcome=outcome.key)


def _blocks(study: Study, outcome: RateOutcome, panel: Panel) -> list[tuple[str, np.ndarray]]:
    """Blocks of the whole panel, as places in `panel`, which may lack the periods of anticipation."""
    whole = whole_panel(study, outcome)
    places = [
        (label, np.flatnonzero(np.isin(panel.periods, whole.periods[i]))) for label, i in shown_blocks(study, whole)
    ]
    return [(label, inside) for label, inside in places if len(inside)]


def _events(panel: Panel, rows: np.ndarray, inside: np.ndarray) -> float:
    return float(panel.outcome[rows][:, inside].sum())


def _synthetic_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    panel = design_panel(study, outcome)
    paths = compute_paths(panel, options=SyntheticControlOptions(method="synthetic_control"))
    cells = []
    for label, inside in _blocks(study, outcome, panel):
        events = _events(panel, panel.treated, inside)
        for column, values in (("observed", paths.observed[0]), ("expected", paths.expected[0])):
            cells.append(
                Cell(
                    label,
                    column,
                    PER_PERSON_YEARS * values[inside].mean(),
                    "statistic",
                    unit=f"{count_unit(outcome)} {_UNIT}",
                    n_events=events,
                    label=label,
                )
            )
    return cells


def _gap_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    panel = design_panel(study, outcome)
    options = SyntheticControlOptions(method="synthetic_control")
    mine, others = compute_paths(panel, options=options), compute_placebo_paths(panel, options=options)
    names = [study.protocol.areas.treated_label, *panel.units[~panel.treated]]
    rows = [panel.treated, *(panel.units == name for name in names[1:])]
    gaps = np.vstack([mine.gap, others.gap])
    return [
        Cell(
            label,
            name,
            PER_PERSON_YEARS * gap[inside].mean(),
            "statistic",
            unit=f"{count_unit(outcome)} {_UNIT}",
            n_events=_events(panel, own, inside),
            label=label,
        )
        for label, inside in _blocks(study, outcome, panel)
        for name, own, gap in zip(names, rows, gaps, strict=True)
    ]


def _weight_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    panel = design_panel(study, outcome)
    names = panel.units[~panel.treated]
    cells = []
    for method in WEIGHTED:
        weights = compute_paths(panel, options=SyntheticControlOptions(method=method)).unit_weights[0]
        cells += [
            Cell(str(name), method, float(w), "statistic", unit="weight", label=str(name))
            for name, w in zip(names, weights[~panel.treated], strict=True)
        ]
    return cells


def _its_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    """By single periods: the gate then withholds the points of few events, and keeps the lines."""
    panel = design_panel(study, outcome)
    fit = fit_its(panel, options=ItsOptions(control="pooled", level=study.level))
    whole, unit = events_behind(panel), f"{count_unit(outcome)} {_UNIT}"
    cells = []
    for place, start in enumerate(fit.periods):
        label = period_label(start.astype("datetime64[D]"), study.protocol.dates.period)
        events = _events(panel, panel.treated, panel.periods == start)
        band = {
            "lower": PER_PERSON_YEARS * fit.counterfactual_lower[place],
            "upper": PER_PERSON_YEARS * fit.counterfactual_upper[place],
            "level": fit.level,
        }
        for column, values, behind, ends in (
            ("observed", fit.observed, events, {}),
            ("fitted", fit.fitted, whole, {}),
            ("counterfactual", fit.counterfactual, whole, band),
        ):
            value = PER_PERSON_YEARS * values[place]
            cells.append(Cell(label, column, value, "statistic", unit=unit, n_events=behind, label=label, **ends))
    return cells
