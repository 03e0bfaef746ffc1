"""What the primary rates were tried against: comparators, dates, neighbours, displacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from evalkit.analysis.area import rate_options
from evalkit.analysis.blocks import PER_PERSON_YEARS, count_unit
from evalkit.analysis.bounds import PERIODS_PER_YEAR
from evalkit.analysis.designs import described, design_panel, events_behind, whole_panel
from evalkit.analysis.study import Study
from evalkit.cohort.panel import Panel
from evalkit.core.dates import period_label
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import RateOutcome
from evalkit.core.result import Cell, Estimate, Results
from evalkit.estimators.area.placebo_size import PlaceboSizeOptions, measure_placebo_size
from evalkit.estimators.area.placebo_time import estimate_placebo_in_time
from evalkit.estimators.area.rates import estimate_rate_ratio_did
from evalkit.estimators.area.registry import find_estimator
from evalkit.estimators.area.robustness import drop_each, estimate_anticipation, estimate_spillover
from evalkit.estimators.area.synthetic_control import synthetic_control
from evalkit.estimators.area.xmr import compute_xmr

ROUNDED_TO = 10  # observed events behind a number of events, so that it cannot be worked back to them


def describe_robustness(study: Study, outcome: RateOutcome) -> list[Results]:
    """Areas left out in turn, false dates, and a control chart."""
    makers = {"drop_one": _drop_one_cells, "placebo_time": _placebo_time_cells, "xmr": _xmr_cells}
    return [described(study, outcome, name, make) for name, make in makers.items()]


def _primary(study: Study, outcome: RateOutcome) -> Callable[[Panel], Estimate]:
    estimand, options = study.protocol.estimand(outcome), rate_options(study)

    def run(panel: Panel) -> Estimate:
        return estimate_rate_ratio_did(panel, estimand, options=options, rng=study.rng(outcome.key), role="sensitivity")

    return run


def _drop_one_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    panel, run = whole_panel(study, outcome), _primary(study, outcome)
    behind = events_behind(panel)
    untreated = [str(u) for u in panel.units[~panel.treated]]
    found = [("none", run(panel)), *zip(untreated, drop_each(panel, run), strict=True)]
    return [
        Cell(
            name,
            "effect",
            e.value,
            "statistic",
            unit=e.estimand.unit,
            lower=e.lower,
            upper=e.upper,
            level=e.level,
            n_events=behind,
            status=e.status,
            reason=e.reason,
            label="No area left out" if name == "none" else f"Without {name}",
        )
        for name, e in found
    ]


def _placebo_time_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    panel = design_panel(study, outcome)
    rows = estimate_placebo_in_time(panel, synthetic_control)
    behind = events_behind(panel)
    return [
        Cell(
            period_label(np.datetime64(r.adoption, "D"), study.protocol.dates.period),
            "effect",
            r.ratio,
            "statistic",
            unit="ratio",
            n_events=behind,
            label=f"p = {r.p_value:.3f}",
        )
        for r in rows.itertuples()
    ]


def _xmr_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    """The treated areas' rate by period, limits fixed to the time before adoption."""
    panel = whole_panel(study, outcome)
    start = panel.adoption[panel.treated].min()
    counts, years = panel.outcome[panel.treated].sum(axis=0), panel.denominator[panel.treated].sum(axis=0)
    before = int((panel.periods < start).sum())
    chart = compute_xmr(PER_PERSON_YEARS * counts / years, baseline=before, better=outcome.better)
    unit, behind = f"{count_unit(outcome)} per {PER_PERSON_YEARS} person-years", events_behind(panel)
    sign = {"improvement": 1.0, "concern": -1.0}
    cells = []
    for place, period in enumerate(panel.periods):
        label = period_label(period.astype("datetime64[D]"), study.protocol.dates.period)
        for column, value, events in (
            ("value", chart.value[place], counts[place]),
            ("mean", chart.mean[place], behind),
            ("lower", max(chart.lower[place], 0.0), behind),
            ("upper", chart.upper[place], behind),
        ):
            cells.append(Cell(label, column, float(value), "statistic", unit=unit, n_events=float(events), label=label))
        said = chart.point[place]
        cells.append(Cell(label, "flag", sign.get(said, 0.0), "statistic", n_events=float(counts[place]), label=said))
    return cells


def estimate_neighbourhood(study: Study, outcome: RateOutcome) -> list[Estimate]:
    """Spillover of one outcome: the primary analysis without the neighbours, and on them."""
    run, neighbours = _primary(study, outcome), study.protocol.areas.neighbours
    try:
        return list(estimate_spillover(whole_panel(study, outcome), run, neighbours=neighbours)) if neighbours else []
    except NotEstimable:
        return []  # estimate_rates says why


def estimate_early_starts(study: Study, outcome: RateOutcome) -> list[Estimate]:
    """The primary analysis as if the service had been felt some periods before it began.

    These stay in the workings: the difference between two of them is the count of a single period.
    """
    run = _primary(study, outcome)
    try:
        panel = whole_panel(study, outcome)
        before = int((panel.periods < panel.adoption[panel.treated].min()).sum())
        periods = tuple(k for k in study.protocol.robustness.anticipation_periods if k < before)
        return list(estimate_anticipation(panel, run, periods=periods)) if periods else []
    except NotEstimable:
        return []  # estimate_rates says why


def describe_displacement(study: Study, outcome: RateOutcome, estimates: Sequence[Estimate]) -> list[Results]:
    """How many events a year fewer or more than expected, for the outcome and for those to which use may have moved.

    observed (1 - 1/ratio) over the years after adoption, with the ends of the ratio's interval; `estimates` are the
    primary ones of all rates. Ratios do not add up across outcomes; numbers of events can at least be set side by side.
    """
    if not outcome.displaced_to:
        return []
    cells = []
    for key in (outcome.key, *outcome.displaced_to):
        other = study.protocol.outcome(key)
        found = [e for e in estimates if e.estimand.outcome == key and e.estimator == other.estimator]
        label, unit = other.label, f"{count_unit(other)} a year"
        try:
            if not found or not math.isfinite(found[0].value):
                why = found[0].reason if found else "it was not estimated"
                raise NotEstimable(Fault(f'outcome "{key}"', why or "there is no estimate"))
            cells.append(_change_cell(study, other, found[0], label, unit))
        except NotEstimable as refusal:
            cells.append(
                Cell(
                    key,
                    "change",
                    math.nan,
                    "statistic",
                    unit=unit,
                    label=label,
                    status="not_estimable",
                    reason=refusal.reason,
                )
            )
    return [Results.from_cells(f"displacement.{outcome.key}", cells, outcome=outcome.key)]


def _change_cell(study: Study, outcome: RateOutcome, found: Estimate, label: str, unit: str) -> Cell:
    panel = whole_panel(study, outcome)
    after = panel.periods[None, :] >= panel.adoption[panel.treated][:, None]
    events = float(panel.outcome[panel.treated][after].sum())
    years = after.sum(axis=1).max() / PERIODS_PER_YEAR[study.protocol.dates.period]
    seen = ROUNDED_TO * round(events / ROUNDED_TO) / years

    def change(ratio: float) -> float:
        # Two digits: what starts from a count rounded to ten bears no more.
        return float(f"{seen * (1 - 1 / ratio):.2g}") if ratio > 0 else -math.inf

    ends = (change(found.lower), change(found.upper)) if math.isfinite(found.upper) else (math.nan, math.nan)
    return Cell(
        outcome.key,
        "change",
        change(found.value),
        "statistic",
        unit=unit,
        lower=ends[0],
        upper=ends[1],
        level=found.level,
        n_events=events_behind(panel),
        label=label,
    )


def describe_placebo_size(study: Study, outcome: RateOutcome) -> list[Results]:
    """How often each design finds an effect in an area where nothing happened, at its nominal level."""
    if not study.protocol.robustness.placebo_sized:
        return []
    estimand = study.protocol.estimand(outcome)
    try:
        panel = design_panel(study, outcome)
    except NotEstimable:
        return []
    cells = []
    for name in study.protocol.robustness.placebo_sized:
        entry = find_estimator(name)
        rng = study.rng(f"size.{outcome.key}.{name}")
        size = measure_placebo_size(
            panel,
            lambda p, entry=entry, rng=rng: entry.run(p, estimand, study.level, rng, "sensitivity"),
            rng=rng,
            options=PlaceboSizeOptions(level=study.level, dates=1),
        )
        cells.append(
            Cell(
                name,
                "rejected",
                size.rate,
                "statistic",
                unit="share of placebos",
                lower=size.lower,
                upper=size.upper,
                level=0.95,
                label=entry.label,
                status="shown" if size.placebos else "refused",
                reason=size.text,
            )
        )
    return [Results.from_cells(f"placebo_size.{outcome.key}", cells, outcome=outcome.key)]
