"""What the peer report says of each outcome: sentences, a picture, the range of doubt, and why not surer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.core.outcomes import Outcome
from evalkit.report import facts, figures
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.phrases import (
    confidence_sentences,
    count_unit,
    counterfactual_risk,
    effect_sentences,
    finding_base,
    full_stop,
    number,
    ratio_base,
    service_short,
    starts_with_capital,
    times_right,
)  # fmt: skip
from evalkit.report.plain import explained, plain_resource
from evalkit.report.tables import plain_money_table, recurrence_table
from evalkit.report.words import Finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_WANTED = {
    "lower": "Fewer is better.",
    "higher": "More is better.",
    "neither": "Neither more nor fewer is better by itself.",
}

_GROUP_NAMES = {"Comparators": "The other places", "Female": "Women", "Male": "Men"}
_WANTED_MONEY = "Spending less is only good if nobody loses help that they need."


def slug(outcome: Outcome) -> str:
    return outcome.key.replace("_", "-")


def show_outcomes(release: Release) -> None:
    """Every planned outcome but money and displacement; plain counts where no effect could be worked out."""
    kept = [o for o in release.protocol.outcomes if o.role == "primary" and o.kind != "cost"]
    show_text(_how_to_read(service_short(release.protocol.study)), id="text-how-to-read")
    for outcome in kept:
        show_outcome(release, outcome)
    found = [facts.finding(release, o) for o in kept]
    if not any(f is not None and f.has_number for f in found):
        show_description(release)


def _how_to_read(service: str) -> str:
    return " ".join([
        f"Each part says what there was with {service}, and what we think there would have been without it.",
        explained("The second is an estimate, from comparison areas.", "estimate", "comparison areas"),
        explained("It has a range of doubt.", "range of doubt"),
        "In the pictures a circle is sure. A diamond is in our best answer. A triangle is up to the top of the range.",
        "How sure we are is said in the same few words each time: see [How sure is sure](#how-sure-is-sure).",
    ])  # fmt: skip


def show_outcome(release: Release, outcome: Outcome) -> None:
    """One outcome: what was found, how sure, why not surer, with its pictures."""
    finding = facts.finding(release, outcome)
    if finding is None:
        return
    service = service_short(release.protocol.study)
    name = slug(outcome)
    show_text("\n\n".join(_outcome_text(release, finding, service)), id=f"text-{name}")
    _show_icons(release, finding, service)
    _show_trend(release, outcome, service)


def _outcome_text(release: Release, finding: Finding, service: str) -> list[str]:
    observed = facts.observed_risk(release, finding.outcome)
    wanted = _WANTED_MONEY if finding.outcome.kind == "cost" else _WANTED[finding.outcome.better]
    parts = [f"### {starts_with_capital(finding.outcome.plain)}", wanted]
    parts.append(" ".join(effect_sentences(finding, service=service, observed=observed)))
    if finding.has_range and math.isfinite(finding.level):
        parts[-1] += f" {times_right(finding.level)}"
    elif finding.has_number and not finding.has_range:
        parts[-1] += " There is no range of doubt. So this number may be far from the truth."
    sure = confidence_sentences(finding, service=service)
    if sure:
        parts.append(f"**How sure are we?** {' '.join(sure)}")
    if finding.weaknesses and finding.has_number:
        parts.append("Why we are not surer:")
        parts.append("\n".join(f"- {full_stop(w)}" for w in finding.weaknesses))
    return parts


def _show_icons(release: Release, finding: Finding, service: str) -> None:
    if not (finding.has_number and finding.has_range):
        return  # a picture without its range would look surer than it is
    outcome = finding.outcome
    caption = f"{starts_with_capital(outcome.plain)}, with and without {service}"
    if outcome.scale == "risk_difference":
        observed = facts.observed_risk(release, outcome)
        if not math.isfinite(observed):
            return
        without = counterfactual_risk(finding, observed)
        titles = (f"Without {service} (our estimate)", f"With {service} (seen)")
        options = {"without": without, "seen": observed, "happened": "went back", "not_happened": "did not go back",
                   "titles": titles, "base": finding_base(finding)}  # fmt: skip
        show_figure(figures.plot_risk_icons(**options), id=f"fig-{slug(outcome)}-icons", caption=caption,
                    alt=figures.describe_risk_icons(**options))  # fmt: skip
    elif outcome.scale == "rate_ratio":
        base = ratio_base(finding.value, finding.lower, finding.upper)
        options = {"ratio": (finding.value, finding.lower, finding.upper), "unit": count_unit(outcome),
                   "titles": (f"Expected without {service}", f"With {service}, where {base} were expected"),
                   "base": base}  # fmt: skip
        show_figure(figures.plot_ratio_icons(**options), id=f"fig-{slug(outcome)}-icons", caption=caption,
                    alt=figures.describe_ratio_icons(**options))  # fmt: skip


def _show_trend(release: Release, outcome: Outcome, service: str) -> None:
    rows, per = facts.trend(release, outcome)
    if rows.empty:
        return
    protocol = release.protocol
    who = "people living in one" if getattr(outcome, "denominator", "") == "residents" else "people"
    label = f"{starts_with_capital(count_unit(outcome))} each year, for every {per:,} {who}"
    options = {"groups": figures.trend_groups(rows), "y_label": label, "adoption": protocol.dates.adoption,
               "start_month": protocol.dates.study_start.month}  # fmt: skip
    figure = figures.plot_trend(rows, start_text=f"{service} starts", **options)
    show_figure(figure, id=f"fig-{slug(outcome)}-trend", caption=f"{starts_with_capital(outcome.plain)}, over time",
                alt=figures.describe_trend(rows, **options))  # fmt: skip


def show_description(release: Release) -> None:
    """How often people came back, where no effect could be worked out: a description, not an effect."""
    if not facts.release_has(release, "description.recurrence"):
        return
    show_text(
        "### What the records show\n\nWe can say how often people came back to hospital. "
        "This is a description. It does not show what caused it. "
        "People in the groups may differ in many ways, such as how ill they were.",
        id="text-description",
    )  # fmt: skip
    # Deaths stand under the bad news alone, after the note that lets readers pass over them.
    table = recurrence_table(release).drop(columns="Deaths").replace({"Group": _GROUP_NAMES})
    show_table(table, id="tab-description", caption="How often people came back to hospital",
               note="The last column counts returns for every 1,000 days that people were out of "
                    "hospital.")  # fmt: skip


def show_money(release: Release) -> None:
    """What was spent, beside what would have been."""
    outcomes = release.protocol.outcomes_of("cost")
    if not outcomes:
        show_text("Money was not part of the plan for this study.", id="text-no-money")
        return
    service = service_short(release.protocol.study)
    for outcome in outcomes:
        finding = facts.finding(release, outcome)
        if finding is None:
            show_text("Money was planned, but nothing was worked out.", id=f"text-{slug(outcome)}")
            continue
        parts = _outcome_text(release, finding, service)
        expected = facts.counterfactual_cost(release)
        spent = facts.cell_value(release, "cost_relative", outcome.key, "actual")
        if math.isfinite(expected) and math.isfinite(spent):
            parts.insert(2, f"About {number(spent, 'GBP')} was spent on each person every 3 months. "
                            f"Without {service}, we think it would have been about "
                            f"{number(expected, 'GBP')}.")  # fmt: skip
        show_text("\n\n".join(parts), id=f"text-{slug(outcome)}")
        _show_pounds(release, outcome, service)
    _show_cost_pictures(release, service)


def _show_pounds(release: Release, outcome: Outcome, service: str) -> None:
    """What was spent, beside every 100 pounds that we think would have been."""
    row = facts.cell(release, "cost_relative", outcome.key, "relative_change")
    if row is None or row["status"] != "shown" or not math.isfinite(row["value"]):
        return
    options = {"ratio": tuple(1 + float(row[end]) for end in ("value", "lower", "upper")), "unit": "pounds",
               "titles": (f"Expected without {service}", f"With {service}, where 100 were expected"),
               "base": 100}  # fmt: skip
    show_figure(figures.plot_ratio_icons(**options), id=f"fig-{slug(outcome)}-icons",
                caption=f"{starts_with_capital(outcome.plain)}, with and without {service}",
                alt=figures.describe_ratio_icons(**options))  # fmt: skip


def _show_cost_pictures(release: Release, service: str) -> None:
    rows = release.table("cost_trend")
    treated = facts.treated_group(release.protocol)
    if len(rows) and treated in figures.trend_groups(rows):
        options = {"groups": facts.treated_first(figures.trend_groups(rows), treated),
                   "adoption": release.protocol.dates.adoption,
                   "y_label": "Pounds spent on each person every 3 months"}  # fmt: skip
        show_figure(figures.plot_cost_trend(rows, start_text=f"{service} starts", **options), id="fig-cost-trend",
                    caption="What was spent, over time", alt=figures.describe_cost_trend(rows, **options))  # fmt: skip
    parts = release.table("cost_parts")
    if len(parts):
        show_table(plain_money_table(release, names=plain_resource), id="tab-cost-parts",
                   caption=f"What was spent on each person every 3 months in {treated}",
                   note="Before and after side by side is not evidence of effect. Spending changed in other "
                        "places too.")  # fmt: skip


def show_displacement(release: Release) -> None:
    """Where use may have moved: the outcomes that the plan lists for that."""
    kept = [o for o in release.protocol.outcomes if o.role == "sensitivity" and o.kind != "cost"]
    if not kept:
        show_text("The plan lists no place where use of services may have moved.", id="text-no-displacement")
        return
    show_text(
        "A fall in one place can be a rise in another. So we also looked at where people may have gone instead.",
        id="text-displacement",
    )  # fmt: skip
    for outcome in kept:
        show_outcome(release, outcome)
