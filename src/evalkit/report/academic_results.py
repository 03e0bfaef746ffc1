"""Results of the academic report, each where the release holds it, and a sentence where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.core.outcomes import Outcome
from evalkit.report import facts, figures, tables
from evalkit.report.academic_checks import build_balance, show_balance_table
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.phrases import full_stop, starts_with_capital, with_interval
from evalkit.report.plain import referee_reason

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_SCALES = {"risk (0 to 1)": ("risk", "Risk differences"), "ratio": ("ratio", "Rate ratios"),
           "GBP per person-quarter": ("cost", "Differences in cost")}  # fmt: skip


def slug(outcome: Outcome) -> str:
    return outcome.key.replace("_", "-")


def nothing(what: str, *, id: str) -> None:
    show_text(f"The release holds no {what}.", id=id)


def show_participants(release: Release) -> None:
    """Tables read, cohort flow, and Table 1."""
    limit = facts.threshold(release)
    if facts.release_has(release, "data_tables"):
        show_table(tables.data_table(release), id="tab-data", caption="Tables read")
    rows = facts.attrition(release)
    if len(rows):
        show_figure(figures.plot_flow(rows, threshold=limit), id="fig-flow",
                    caption="Flow of people into the cost cohort",
                    alt=figures.describe_flow(rows, threshold=limit))  # fmt: skip
    else:
        nothing("cohort flow: no analysis of this study follows a fixed cohort of people", id="text-no-flow")
    if facts.release_has(release, "table1"):
        note = "Counts are rounded; percentages are of the group. The groups are as they were, before any weighting"
        note += "; what weighting does stands in tab-balance." if len(build_balance(release)) else "."
        show_table(tables.table_one(release), id="tab-one", caption="People by group, before weighting", note=note)
    else:
        nothing("description of people: this study reads counts by area", id="text-no-table-one")
    missing = tables.missing_numbers(release)
    if len(missing):
        show_table(missing, id="tab-missing", caption="Values not recorded",
                   note="An empty end date or date of death is not missing: the stay goes on or the person "
                        "lives.")  # fmt: skip


def show_balance(release: Release) -> None:
    """Standardised differences before and after weighting."""
    rows = release.table("balance")
    if not rows["value"].notna().any():
        nothing("balance table: no weighted comparison of people was made", id="text-no-balance")
        return
    show_figure(figures.plot_balance(rows), id="fig-balance", caption="Largest standardised difference between "
                                                                      "cells, by covariate",
                alt=figures.describe_balance(rows))  # fmt: skip
    show_balance_table(release)


def show_results(release: Release) -> None:
    """One forest plot a scale, and every estimate as a table."""
    rows = facts.effects(release)
    if rows.empty:
        nothing("estimate: none was planned", id="text-no-estimates")
        return
    labels = {o.key: o.label for o in release.protocol.outcomes}
    show_text(
        "Filled squares are the planned primary estimates. Open circles are sensitivity analyses. Crosses are "
        "uncontrolled "
        "before-and-after comparisons, which are **not evidence of effect**. Estimates without a number are in "
        "the table.",
        id="text-forest",
    )  # fmt: skip
    for unit, (name, title) in _SCALES.items():
        part = rows[(rows["unit"] == unit) & rows["value"].notna()]
        if len(part):
            show_figure(figures.plot_forest(part, labels=labels), id=f"fig-forest-{name}",
                        caption=f"{title}, with intervals",
                        alt=figures.describe_forest(part, labels=labels))  # fmt: skip
    show_table(tables.effects_table(release), id="tab-effects", caption="All estimates",
               note="Counts of people and events are rounded. A level other than the one asked for is what a "
                    "permutation "
                    "test on this number of areas attains.")  # fmt: skip


def show_readmission(release: Release) -> None:
    """Counts, curves and the rate of returns."""
    shown = False
    if facts.release_has(release, "readmission_counts"):
        shown = True
        show_table(tables.readmission_table(release), id="tab-readmission",
                   caption="Index discharges and what followed",
                   note="Uncontrolled counts; before adoption only discharges with complete follow-up.")  # fmt: skip
    rows = release.table("readmission_curve")
    if rows["value"].notna().any():
        shown = True
        groups = facts.treated_first(
            sorted({str(r).split("|")[0] for r in rows["row"]}), facts.treated_group(release.protocol)
        )
        show_figure(figures.plot_curve(rows, groups=groups), id="fig-curve",
                    caption="Cumulative incidence of readmission, death competing (Aalen-Johansen)",
                    alt=figures.describe_curve(rows, groups=groups))  # fmt: skip
    if facts.release_has(release, "description.recurrence"):
        shown = True
        show_table(tables.recurrence_table(release), id="tab-recurrence",
                   caption="All returns to hospital over the study",
                   note="Description only. Days at risk are days alive, followed and out of hospital.")  # fmt: skip
    if not shown:
        nothing("record of readmission: this study reads counts by area", id="text-no-readmission")


def show_rates(release: Release) -> None:
    """Trend, effect by year and placebos of each primary rate."""
    kept = [o for o in release.protocol.outcomes_of("rate") if o.role == "primary"]
    for outcome in kept:
        show_rate(release, outcome)
    if not kept:
        nothing("rate by area: none was planned", id="text-no-rates")


def show_displacement(release: Release) -> None:
    """The outcomes to which use may have moved, beside the primary ones."""
    kept = [o for o in release.protocol.outcomes if o.role == "sensitivity" and o.kind == "rate"]
    if not kept:
        nothing("displacement outcome: none was planned", id="text-no-displacement")
        return
    primary = [o.key for o in release.protocol.outcomes_of("rate") if o.role == "primary"]
    rows = facts.effects(release, roles=("primary", "sensitivity"))
    planned = rows[[(r.role == "primary" and r.outcome in primary) or r.outcome in [o.key for o in kept]
                    for r in rows.itertuples()]]  # fmt: skip
    labels = {o.key: o.label for o in release.protocol.outcomes}
    show_text("A fall in one kind of use may be a rise in another. The planned rates and the outcomes to which "
              "use may have "
              "moved stand together here.", id="text-displacement")  # fmt: skip
    show_figure(figures.plot_forest(planned, labels=labels), id="fig-displacement",
                caption="Planned rate ratios and displacement",
                alt=figures.describe_forest(planned, labels=labels))  # fmt: skip
    for outcome in kept:
        show_rate(release, outcome)


def show_rate(release: Release, outcome: Outcome) -> None:
    """Trend, effect by year and placebos of one rate."""
    protocol = release.protocol
    name = slug(outcome)
    show_text(f"### {outcome.label}\n\n{_rate_sentence(release, outcome)}", id=f"text-{name}")
    rows, per = facts.trend(release, outcome)
    if len(rows):
        options = {"groups": figures.trend_groups(rows), "y_label": f"{starts_with_capital(outcome.count_unit)} "
                                                                    f"per {per:,} person-years",
                   "adoption": protocol.dates.adoption, "start_month": protocol.dates.study_start.month}  # fmt: skip
        show_figure(figures.plot_trend(rows, **options), id=f"fig-{name}-trend",
                    caption=f"{outcome.label}: rates over time",
                    alt=figures.describe_trend(rows, **options))  # fmt: skip
    path = release.table(f"event_study.{outcome.key}")
    if path["value"].notna().sum() >= 2:
        show_figure(figures.plot_event_study(path), id=f"fig-{name}-years",
                    caption=f"{outcome.label}: rate ratio by year from adoption; years before are predicted "
                            "from the others",
                    alt=figures.describe_event_study(path))  # fmt: skip
    elif len(path):
        show_text("No path by year from adoption stands here: too few of its years are released.",
                  id=f"text-{name}-no-years")  # fmt: skip
    placebo = release.table(f"placebo.{outcome.key}")
    if placebo["value"].notna().any():
        show_figure(figures.plot_placebo(placebo, treated=protocol.areas.treated), id=f"fig-{name}-placebo",
                    caption=f"{outcome.label}: the statistic had each area been the treated one",
                    alt=figures.describe_placebo(placebo, treated=protocol.areas.treated))  # fmt: skip


def _rate_sentence(release: Release, outcome: Outcome) -> str:
    row = facts.main_row(release, outcome)
    if row is None:
        return "No estimate was planned."
    if row["status"] != "shown":
        return f"No number stands here: {full_stop(referee_reason(str(row['reason'])))}"
    text = (f"Rate ratio {with_interval(row['value'], row['lower'], row['upper'], 'ratio')}, level "
            f"{100 * row['level']:.1f}%")  # fmt: skip
    p = tables.p_text(float(row["p_value"]))
    text += f"; permutation p {'' if p.startswith('<') else '= '}{p}." if p else "."
    weak = facts.weaknesses(release, row)
    return f"{text} Known weaknesses: {' '.join(weak)}" if weak else text


def show_costs(release: Release) -> None:
    """Cost against the counterfactual, over time and by kind of service."""
    outcomes = release.protocol.outcomes_of("cost")
    if not outcomes:
        nothing("cost: none was planned", id="text-no-costs")
        return
    row = facts.main_row(release, outcomes[0])
    if row is not None and row["status"] != "shown":
        show_text(f"No number stands here: {full_stop(referee_reason(str(row['reason'])))}", id="text-costs")
    if facts.release_has(release, "cost_relative"):
        show_table(tables.cost_relative_table(release), id="tab-cost-relative",
                   caption="Public cost of the treated group, GBP per person-quarter",
                   note="Against what would have been spent without the service, not against a budget.")  # fmt: skip
    rows = release.table("cost_trend")
    treated = facts.treated_group(release.protocol)
    if treated in figures.trend_groups(rows):
        options = {
            "groups": facts.treated_first(figures.trend_groups(rows), treated),
            "adoption": release.protocol.dates.adoption,
        }
        show_figure(figures.plot_cost_trend(rows, **options), id="fig-cost-trend",
                    caption="Public cost over time, with the counterfactual",
                    alt=figures.describe_cost_trend(rows, **options))  # fmt: skip
    if facts.release_has(release, "cost_parts"):
        show_table(tables.money_parts_table(release), id="tab-cost-parts",
                   caption="Public cost by kind of service, GBP per person-quarter",
                   note="Uncontrolled means.")  # fmt: skip
