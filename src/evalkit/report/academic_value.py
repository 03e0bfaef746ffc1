"""Costs and value in the academic report, each part where the release holds it, and a reason where it does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.core.economics import Economics, Valued
from evalkit.core.protocol import Claim
from evalkit.report import facts, figures_budget, figures_value, value_tables
from evalkit.report.academic_results import nothing
from evalkit.report.claims import RELATION_WORDS
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.phrases import full_stop, listed, service_short
from evalkit.report.plain import referee_reason
from evalkit.report.value_facts import (
    PERSISTENCE,
    PERSPECTIVES,
    Plane,
    budget_claim,
    budget_relation,
    claim_row,
    cost_outcome,
    has_numbers,
    is_qaly,
    percent_range,
    pounds,
    read_amount,
    read_plane,
    reasons_of,
    slug,
    tornado,
    unit_words,
    variants,
    year_words,
)

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

DIFFERENCE = "Difference, pounds per person and quarter"
_YARDSTICK = (
    "A budget set beforehand is no counterfactual: what would have been spent without the service can lie above or "
    "below it, whatever the service did. The saving claimed is the original budget less what was spent; the saving "
    "estimated is what would have been spent less what was."
)


def show_value(release: Release) -> None:
    """Everything on costs and value, in the order in which a referee asks for it."""
    if release.protocol.economics is None or cost_outcome(release) is None:
        nothing("economic evaluation: the protocol has no section on economics, or plans no cost", id="text-no-value")
        return
    show_method(release)
    show_change(release)
    show_variants(release)
    show_designs(release)
    show_planes(release)
    show_information(release)
    show_tornado(release)
    show_budget(release)
    show_impact(release)
    show_what_if(release)
    show_prices(release)


def is_missing(release: Release, table: str, what: str) -> bool:
    """Whether no number of a table is released; then a sentence stands where it would have been, with the reason."""
    if has_numbers(release, table):
        return False
    name = f"text-no-value-{slug(table.removeprefix('cost_').removeprefix('budget_'))}"
    name = "text-no-value-budget" if table == "budget" else name
    reasons = reasons_of(release, table)
    if reasons:
        why = " ".join(full_stop(referee_reason(r)) for r in reasons)
        show_text(f"No number stands here ({what}): {why}", id=name)
    else:
        nothing(what, id=name)
    return True


def show_method(release: Release) -> None:
    """Perspective, price year, horizon, discounting, what is valued, and what the draws are."""
    economics, outcome = release.protocol.economics, cost_outcome(release)
    window = release.protocol.estimand(outcome).window
    lines = [
        f"Perspective: {PERSPECTIVES[outcome.perspective]}; the cost of the service itself is "
        f"{'counted' if outcome.include_programme else 'not counted'}.",
        f"Money of {year_words(str(economics.price_year))}, pounds sterling. Time horizon of the effect: "
        f"{window.start} to {window.end} (end not included); of the budget impact: {economics.impact_years} years.",
        f"Discount rate {100 * economics.discount_rate:g}% a year, the first twelve months not discounted.",
        f"Of what is jointly funded, and of the service, {100 * economics.joint_nhs_share:g}% falls on the NHS and the "
        "rest on the council, by assumption.",
        f"Valued: {listed([_valued_words(v) for v in economics.valued])}." if economics.valued else "Nothing is valued "
        "beside cost.",
        f"Probabilistic analysis: {economics.psa_draws:,} draws in which cost and effect of the same resampled people "
        f"stay together; prices that were not verified vary with a coefficient of variation of {economics.price_sd:g}. "
        f"One-way analysis: each price {100 * economics.price_change:g}% lower and higher.",
    ]  # fmt: skip
    text = "The evaluation is reported by CHEERS 2022 [@husereau2022].\n\n" + "\n".join(f"- {x}" for x in lines)
    show_text(text, id="text-value-method")


def _valued_words(valued: Valued) -> str:
    text = f"{valued.label} (unit: {unit_words(valued, 1)}, to {pounds(valued.max_threshold_gbp)} a unit"
    if is_qaly(valued):
        return f"{text}; mapped by {valued.mapping_source})"
    return f"{text}{'; no mapping to QALYs is given' if valued.kind == 'score' else ''})"


def show_change(release: Release) -> None:
    """Cost by part before and after, split into use and price."""
    show_text("### Where the money went: use and price", id="text-value-change")
    if is_missing(release, "cost_change", "split of cost into use and price"):
        return
    show_table(value_tables.change_numbers(release), id="tab-value-change",
               caption="Cost by part before and after, and its change by use and price, GBP per person-quarter",
               note="Uncontrolled means, not evidence of effect. After less before is change in use plus change in "
                    "price.")  # fmt: skip
    rows = release.table("cost_change")
    found = list(dict.fromkeys(rows["column"].str.rsplit("|", n=1).str[0]))
    groups = facts.treated_first(found, facts.treated_group(release.protocol))
    show_figure(figures_budget.plot_change(rows, groups=groups), id="fig-value-change",
                caption="Cost by part before and after, and what use and price did to it",
                alt=figures_budget.describe_change(rows, groups=groups))  # fmt: skip


def show_variants(release: Release) -> None:
    """The effect by payer, by part, year by year, at fixed prices and under other choices."""
    show_text("### The effect on cost seen in other ways", id="text-value-variants")
    if is_missing(release, "cost_variants", "variant of the effect on cost"):
        return
    parts = (
        ("tab-value-payers", ("Payer", "Kind of service"), "Effect on cost by payer and kind of service"),
        ("tab-value-years", ("Financial year",), "Effect on cost year by year"),
        ("tab-value-variants", ("As planned", "Price basis", "Sensitivity", "Price"),
         "Effect on cost at fixed prices and under other choices"),
    )  # fmt: skip
    for name, groups, caption in parts:
        table = value_tables.variant_table(release, groups)
        if len(table):
            show_table(table, id=name, caption=f"{caption}, GBP per person-quarter",
                       note="Each line has a counterfactual of its own, so that parts need not add up to the "
                            "whole.")  # fmt: skip
    rows = variants(release)
    rows = rows[(rows["column"] == "difference") & (rows["group"] != "Price")]
    if rows["value"].notna().any():
        show_figure(figures_value.plot_variants(rows, x=DIFFERENCE), id="fig-value-variants",
                    caption="The effect on cost by price basis, payer, part, choice and year",
                    alt=figures_value.describe_variants(rows, x=DIFFERENCE))  # fmt: skip


def show_designs(release: Release) -> None:
    """Every design for cost, and what was found of its specification."""
    table = value_tables.design_table(release)
    show_text("### Other designs and their specification", id="text-value-designs")
    if table.empty:
        nothing("estimate of cost", id="text-no-value-designs")
        return
    show_table(table, id="tab-value-designs", caption="Effect on cost by design",
               note="Rows marked naive are not evidence of effect.")  # fmt: skip
    checks = value_tables.specification_table(release)
    if len(checks):
        show_table(checks, id="tab-value-specification", caption="Checks of the designs for cost")
    else:
        nothing("check of the designs for cost", id="text-no-value-specification")


# ---- cost against effect --------------------------------------------------------------------------


def show_planes(release: Release) -> None:
    """For everything that is valued: the plane, the ratio or why there is none, and the acceptability curve."""
    show_text("### Cost against effect", id="text-value-planes")
    valued = release.protocol.economics.valued
    if not valued:
        nothing("cost against effect: the protocol values nothing beside cost", id="text-no-value-cea-plane")
        return
    for one in valued:
        _show_plane(release, one)
        _show_curve(release, one)


def _show_plane(release: Release, valued: Valued) -> None:
    plane, name = read_plane(release, valued), slug(valued.key)
    head = f"#### {valued.label}\n\n"
    if plane is None:
        show_text(f"{head}The release holds no cost against this effect.", id=f"text-value-of-{name}")
        return
    if not plane.has_numbers:
        why = full_stop(referee_reason(plane.reason)) if plane.reason else "it is not released."
        show_text(f"{head}No number stands here: {why}", id=f"text-value-of-{name}")
        return
    show_text(head + _ratio_words(plane), id=f"text-value-of-{name}")
    show_table(value_tables.plane_table(plane, inb_at_gbp=plane.threshold_gbp), id=f"tab-value-of-{name}",
               caption=f"Cost against effect: {valued.label}",
               note="Draws are of people and of prices that were not verified, not of areas: what hit one area alone "
                    "is in none of them, and shares of draws are surer than they should be.")  # fmt: skip
    rows = facts.table_row(release, "cea_plane", valued.key)
    options = {"x": f"{valued.label}, more per person and quarter", "y": "Pounds more, per person and quarter",
               "unit": unit_words(valued, 1), "threshold_gbp": plane.threshold_gbp}  # fmt: skip
    show_figure(figures_value.plot_plane(rows, **options), id=f"fig-value-plane-{name}",
                caption=f"Cost-effectiveness plane: {valued.label}",
                alt=figures_value.describe_plane(rows, **options))  # fmt: skip


def _ratio_words(plane: Plane) -> str:
    unit = unit_words(plane.valued, 1)
    if plane.icer.has_number:
        way = "given up" if plane.mean_effect < 0 else "gained"
        money = "saved" if plane.mean_cost < 0 else "spent"
        return f"Incremental cost-effectiveness ratio: {value_tables.told(plane.icer)} {money} per {unit} {way}."
    why = plane.icer.reason
    return (f"No incremental cost-effectiveness ratio is given: {full_stop(referee_reason(why))}" if why else
            "No incremental cost-effectiveness ratio is released.")  # fmt: skip


def _show_curve(release: Release, valued: Valued) -> None:
    rows, name = release.table("ceac"), slug(valued.key)
    rows = rows[rows["row"].str.startswith(f"{valued.key}|")]
    chances = rows.loc[rows["column"] == "probability", "value"]
    if not chances.notna().any():
        reasons = [referee_reason(str(r)) for r in dict.fromkeys(rows["reason"]) if r]
        why = f": {' '.join(full_stop(r) for r in reasons)}" if reasons else "."
        show_text(f"No acceptability curve of this effect stands here{why}", id=f"text-no-value-ceac-{name}")
        return
    service = service_short(release.protocol.study)
    options = {"unit": unit_words(valued, 1), "with_text": f"With {service}", "without_text": f"Without {service}"}
    show_figure(figures_value.plot_acceptability(rows, **options), id=f"fig-value-ceac-{name}",
                caption=f"Cost-effectiveness acceptability, its frontier, and the expected value of perfect "
                        f"information: {valued.label}",
                alt=figures_value.describe_acceptability(rows, **options))  # fmt: skip
    show_table(value_tables.curve_table(release, valued.key), id=f"tab-value-ceac-{name}",
               caption=f"Acceptability and value of information: {valued.label}",
               note="Expected incremental benefit and expected value of perfect information (EVPI) in GBP per "
                    "person-quarter.")  # fmt: skip


def show_information(release: Release) -> None:
    """What knowing each group of parameters would be worth."""
    if is_missing(release, "evppi", "value of partial information"):
        return
    show_table(value_tables.evppi_table(release), id="tab-value-evppi",
               caption="Expected value of partial perfect information, at half the largest threshold",
               note="By regression of net benefit on the parameters.")  # fmt: skip
    show_text("Acceptability curves and their frontier are read as in @fenwick2001; the value of partial information "
              "follows @strong2014.", id="text-value-evppi")  # fmt: skip


def show_tornado(release: Release) -> None:
    """The effect on cost when one thing at a time is changed."""
    show_text("### One thing at a time", id="text-value-tornado")
    if is_missing(release, "tornado", "one-way sensitivity analysis"):
        return
    row = facts.main_row(release, cost_outcome(release))
    base = float(row["value"]) if row is not None else math.nan
    rows = tornado(release)
    show_figure(figures_value.plot_tornado(rows, base=base, x=DIFFERENCE), id="fig-value-tornado",
                caption="The effect on cost when one thing at a time is changed",
                alt=figures_value.describe_tornado(rows, base=base, x=DIFFERENCE))  # fmt: skip


# ---- budgets and years to come ----------------------------------------------------------------------


def show_budget(release: Release) -> None:
    """The saving claimed on the budget against the saving estimated, and who bears it."""
    show_text(f"### The claim on the budget\n\n{_YARDSTICK}", id="text-value-budget")
    if is_missing(release, "budget", "comparison with budgets"):
        return
    show_table(value_tables.budget_numbers(release), id="tab-value-budget",
               caption="Original, actual and counterfactual budget, and the saving claimed and estimated, GBP",
               note="Saved on the original is a share of the original, saved on the counterfactual a share of "
                    "that.")  # fmt: skip
    rows = release.table("budget")
    names = {"original": "Original budget", "counterfactual": "Counterfactual, with its interval", "actual": "Actual"}
    if (rows["row"] != "all").any():
        show_figure(figures_budget.plot_budget(rows, names=names), id="fig-value-budget",
                    caption="Original, counterfactual and actual budget by financial year",
                    alt=figures_budget.describe_budget(rows, names=names))  # fmt: skip
    show_text(_claim_words(release), id="text-value-claim")
    if not is_missing(release, "budget_payer", "split of the saving by payer"):
        show_table(value_tables.payer_table(release), id="tab-value-bearers", caption="Who bears the saving, GBP",
                   note="Below nought a payer paid more.")  # fmt: skip


def _claim_words(release: Release) -> str:
    claim = budget_claim(release)
    if claim is None:
        return "The protocol lists no claim of a share saved on the budget."
    row = claim_row(release, claim)
    claimed = read_amount(release, "budget", row, "claimed_share")
    estimated = read_amount(release, "budget", row, "estimated_share")
    text = f"Claimed: {full_stop(claim.text)} ({claim.source}.)"
    if claimed.has_number:
        text += f" Saved against the original budget{_years(claim, row)}: {percent_range(claimed)}."
    if not estimated.has_number:
        why = full_stop(referee_reason(estimated.reason)) if estimated.reason else "it is not released."
        return f"{text} No saving against the counterfactual can be set beside it: {why}"
    text += f" Saved against the counterfactual{_years(claim, row)}: {percent_range(estimated)}."
    if not estimated.has_range:
        return f"{text} Without an interval the claim cannot be tested."
    relation = budget_relation(claim, estimated)
    if not estimated.lower <= 0 <= estimated.upper:
        end = "No saving at all lies outside it."
    else:
        end = "So does no saving at all." if relation == "inside" else "No saving at all lies inside it."
    return f"{text} {RELATION_WORDS[relation]}. {end}"


def _years(claim: Claim, row: str) -> str:
    return "" if row == "all" else f" from year {claim.from_year} on"


def show_impact(release: Release) -> None:
    """Net cost over the years to come, by how long the effect lasts."""
    show_text("### Budget impact in years to come", id="text-value-impact")
    if is_missing(release, "budget_impact", "budget impact"):
        return
    show_text("Nobody has seen these years. Each line assumes how long the effect lasts; above nought is money spent, "
              "below nought money saved.", id="text-value-impact-reading")  # fmt: skip
    rows = release.table("budget_impact")
    show_figure(figures_budget.plot_impact(rows, names=PERSISTENCE), id="fig-value-impact",
                caption="Budget impact by year and in all years so far",
                alt=figures_budget.describe_impact(rows, names=PERSISTENCE))  # fmt: skip
    show_table(value_tables.impact_numbers(release), id="tab-value-impact", caption="Budget impact, GBP",
               note=f"Net is set-up, running and other services together. Discounted at "
                    f"{100 * _economics(release).discount_rate:g}% a year.")  # fmt: skip


def show_what_if(release: Release) -> None:
    """What the same effect would mean in another place."""
    show_text("### Elsewhere", id="text-value-what-if")
    if not _economics(release).what_if:
        nothing("what-if: the protocol names no other place", id="text-no-value-what-if")
        return
    if is_missing(release, "what_if", "what-if"):
        return
    show_table(value_tables.what_if_table(release), id="tab-value-what-if",
               caption="What the estimated effect would mean elsewhere, GBP",
               note="Takes the relative effect to be the same there, which no record of this study can "
                    "show.")  # fmt: skip


def show_prices(release: Release) -> None:
    """Every price with its source, and whether the source was seen."""
    show_text("### Prices", id="text-value-prices")
    if is_missing(release, "price_list", "list of prices"):
        return
    show_table(value_tables.price_table(release), id="tab-value-prices", caption="Prices",
               note="A price that was not verified varies in the probabilistic analysis.")  # fmt: skip


def _economics(release: Release) -> Economics:
    return release.protocol.economics
