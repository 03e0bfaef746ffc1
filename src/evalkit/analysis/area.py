"""Event rates by area: effects, sensitivity, time path, placebos and trends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evalkit.analysis.study import Study, attempt
from evalkit.cohort.area_counts import build_panel, has_events
from evalkit.cohort.mirror import count_before_after, derive_mirror_counts
from evalkit.cohort.panel import Panel
from evalkit.core.dates import period_label
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import NAIVE, RateOutcome
from evalkit.core.result import Cell, Estimate, Results, Role
from evalkit.estimators.naive import estimate_rate_before_after
from evalkit.estimators.rates import RateOptions, estimate_event_study, estimate_placebos, estimate_rate_ratio_did

DONORS = "Other areas"
_NEAR_LABEL = "The same with the nearest areas only"
_BASELINE_LABELS = {
    "whole": "The same with the baseline from the study's start",
    "recent": "The same with the recent baseline only",
}
PER_PERSON_YEARS = 100
MIN_SHOWN = 10  # trend periods are widened until the treated areas' counts reach this


def estimate_rates(study: Study, outcome: RateOutcome) -> list[Estimate]:
    """Primary, sensitivity and naive estimates of one outcome; each stands with a reason if refused."""
    estimand, dates = study.protocol.estimand(outcome), study.protocol.dates
    baselines = {"whole": dates.study_start, "recent": dates.baseline_start}
    other = "recent" if outcome.baseline == "whole" else "whole"

    def did(baseline: str, role: Role, areas: tuple[str, ...]) -> Estimate:
        if study.protocol.exposure.by != "area":
            raise NotEstimable(Fault("protocol", "rates are compared by area, but exposure is by programme"))
        panel = build_panel(study.tables, study.protocol, outcome).only(areas)
        cut = panel.between(baselines[baseline], dates.end)
        return estimate_rate_ratio_did(cut, estimand, options=_options(study), rng=study.rng(outcome.key), role=role)

    def other_baseline() -> Estimate:
        found = did(other, "sensitivity", study.protocol.areas.all)
        return replace(found, estimator=f"poisson_did_{other}_baseline", label=_BASELINE_LABELS[other])

    def near_only() -> Estimate:
        found = did(outcome.baseline, "sensitivity", study.protocol.areas.with_people)
        return replace(found, estimator="poisson_did_near_areas", label=_NEAR_LABEL)

    ways: dict[str, tuple[Callable[[], Estimate], str]] = {
        f"poisson_did_{other}_baseline": (other_baseline, _BASELINE_LABELS[other]),
        "poisson_did_near_areas": (near_only, _NEAR_LABEL),
    }
    return [
        attempt(
            study,
            outcome,
            outcome.estimator,
            outcome.role,
            lambda: did(outcome.baseline, outcome.role, study.protocol.areas.all),
        ),
        *(
            attempt(study, outcome, name, "sensitivity", ways[name][0], label=ways[name][1])
            for name in outcome.sensitivity
            if name in ways
        ),
        attempt(study, outcome, NAIVE, "naive", lambda: _naive(study, outcome)),
    ]


def _naive(study: Study, outcome: RateOutcome) -> Estimate:
    """The same people before and after where people are known, else the treated area before and after."""
    estimand = study.protocol.estimand(outcome)
    people = study.tables.has("people") and study.protocol.dates.adoption is not None
    if people and has_events(study.tables, outcome):
        before, after = derive_mirror_counts(study.tables, study.protocol, outcome)
    else:
        panel = build_panel(study.tables, study.protocol, outcome)
        before, after = count_before_after(panel)
    return estimate_rate_before_after(
        before, after, estimand, level=study.level, interval="none" if outcome.event == "ward_days" else "poisson"
    )


def _options(study: Study) -> RateOptions:
    dates = study.protocol.dates
    ahead = np.datetime64(dates.anticipation_start) if dates.adoption and dates.anticipation_days else None
    return RateOptions(level=study.level, permutations=study.protocol.inference.permutations, anticipation_start=ahead)


def describe_rates(study: Study, outcome: RateOutcome) -> list[Results]:
    """Trend, event study and placebos of one outcome; nothing where there is no panel."""
    try:
        panel = build_panel(study.tables, study.protocol, outcome)
    except NotEstimable:
        return []  # estimate_rates says why
    found = [Results.from_cells(f"trend.{outcome.key}", _trend_cells(study, outcome, panel), outcome=outcome.key)]
    options, dates = _options(study), study.protocol.dates
    per_year = {"quarter": 4, "year": 1}[dates.period]
    try:
        path = estimate_event_study(panel, options=options, periods_per_step=per_year)
        start = dates.study_start if outcome.baseline == "whole" else dates.baseline_start
        placebos = estimate_placebos(panel.between(start, dates.end), options=options, rng=study.rng(outcome.key))
    except NotEstimable:
        return found  # both are defined for one treated area only
    steps = [
        Cell(
            str(s.step),
            "effect",
            s.ratio,
            "statistic",
            unit="ratio",
            lower=s.lower,
            upper=s.upper,
            level=1 - 1 / len(panel.units),
            n_events=s.n_events,
            label=_step_label(s.step),
        )
        for s in path.itertuples()
    ]
    spread = [
        Cell(p.unit, column, getattr(p, name), "statistic", unit=unit, label=p.unit)
        for p in placebos.itertuples()
        for column, name, unit in (
            ("effect", "log_ratio", "log ratio"),
            ("studentised", "studentised", "standard errors"),
        )
    ]
    return [
        *found,
        Results.from_cells(f"event_study.{outcome.key}", steps, outcome=outcome.key),
        Results.from_cells(f"placebo.{outcome.key}", spread, outcome=outcome.key),
    ]


def _step_label(step: int) -> str:
    if step < 0:
        return f"{-step} year{'s' if step < -1 else ''} before"
    return f"Year {step + 1} after"


def _trend_cells(study: Study, outcome: RateOutcome, panel: Panel) -> list[Cell]:
    """Rates of treated and other areas, in the finest periods whose treated counts can be shown."""
    treated = study.protocol.areas.treated_label
    groups = {treated: panel.treated, DONORS: ~panel.treated}
    width = _shown_width(panel, study.protocol.dates.period)
    usable = len(panel.periods) // width * width
    unit = "days" if outcome.event == "ward_days" else outcome.count_unit
    cells = []
    for begin in range(0, usable, width):
        label = period_label(
            panel.periods[begin].astype("datetime64[D]"), "year" if width * _months(study) == 12 else "quarter"
        )
        for name, rows in groups.items():
            count = float(panel.outcome[rows, begin : begin + width].sum())
            years = float(panel.denominator[rows, begin : begin + width].sum())
            cells.append(Cell(label, f"{name} count", round(count), "count", unit=unit, label=label))
            cells.append(
                Cell(
                    label,
                    name,
                    PER_PERSON_YEARS * count / years,
                    "rate",
                    unit=f"{unit} per {PER_PERSON_YEARS} person-years",
                    numerator=f"{label}/{name} count",
                    label=label,
                )
            )
    return cells


def _months(study: Study) -> int:
    return {"quarter": 3, "year": 12}[study.protocol.dates.period]


def _shown_width(panel: Panel, period: str) -> int:
    """Periods to join: 1, 2 or 4 quarters, the first at which every treated count can be shown."""
    if period == "year":
        return 1
    counts = panel.outcome[panel.treated].sum(axis=0)
    for width in (1, 2, 4):
        usable = len(counts) // width * width
        if usable == 0:
            return 1
        if counts[:usable].reshape(-1, width).sum(axis=1).min() >= MIN_SHOWN:
            return width
    return 4
