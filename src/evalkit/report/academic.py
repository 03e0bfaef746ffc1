"""The academic report: what its notebook calls, in the order of its sections.

The methods are in `academic_methods`, figures and tables of results in `academic_results`, risk models in
`academic_risk`, the parts that judge them (checks, limitations, disclosure, provenance) in `academic_end`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.core.protocol import Protocol
from evalkit.report import facts
from evalkit.report.academic_designs import show_designs
from evalkit.report.academic_end import (
    show_checks,
    show_claims,
    show_disclosure,
    show_not_estimable,
    show_provenance,
)  # fmt: skip
from evalkit.report.academic_limits import show_deviations, show_limitations
from evalkit.report.academic_methods import show_methods
from evalkit.report.academic_results import (
    show_balance,
    show_costs,
    show_displacement,
    show_participants,
    show_rates,
    show_readmission,
    show_results,
)  # fmt: skip
from evalkit.report.academic_risk import show_risk
from evalkit.report.display import show_document, show_table, show_text
from evalkit.report.phrases import full_stop, listed, starts_with_capital, with_interval
from evalkit.report.tables import definitions_table, estimands_table
from evalkit.report.words import LADDER_SHORT, Finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

__all__ = [
    "show_abstract", "show_background", "show_balance", "show_checks", "show_claims", "show_costs",
    "show_designs", "show_deviations",
    "show_disclosure", "show_displacement", "show_limitations", "show_methods", "show_not_estimable",
    "show_participants", "show_protocol", "show_provenance", "show_rates", "show_readmission", "show_results",
    "show_risk", "show_title",
]  # fmt: skip

SIMULATED = "Simulated records. No number here is about a real person or about what the real service achieved."


def show_title(release: Release) -> None:
    """The title block, with a warning over the whole report where the records are simulated."""
    study = release.protocol.study
    lines = {
        "Design": _design(release.protocol),
        "Population": release.protocol.population.label,
        "Study period": _period(release.protocol),
        "Protocol": f"SHA-256 {release.protocol.digest[:16]}",
        "Disclosure profile": release.protocol.disclosure.profile,
    }
    show_document(kind="academic", title=study.title,
                  subtitle=study.question, banner=SIMULATED if study.synthetic else "", facts=lines)  # fmt: skip


def _design(protocol: Protocol) -> str:
    if protocol.exposure.by == "programme":
        return "descriptive; exposure by programme, with no period before and no comparison area"
    when = "one adoption date" if protocol.dates.adoption else "staggered adoption"
    return f"difference-in-differences by area of responsibility, {when}"


def _period(protocol: Protocol) -> str:
    dates = protocol.dates
    text = f"{dates.study_start} to {dates.end} (end not included)"
    return f"{text}; adoption {dates.adoption}" if dates.adoption else text


def show_abstract(release: Release) -> None:
    """Objective, design, setting, participants and data, analysis, results and conclusions, made from the release."""
    protocol = release.protocol
    found = [f for o in protocol.outcomes if o.role == "primary" and (f := facts.finding(release, o)) is not None]
    records = "Simulated records in the form of routinely" if protocol.study.synthetic else "Routinely"
    parts = {
        "Objective": protocol.study.question,
        "Design": full_stop(starts_with_capital(_design(protocol))),
        "Setting": _abstract_setting(protocol),
        "Participants and data": f"{full_stop(starts_with_capital(protocol.population.label))} {records} collected "
                                 f"records of care and its cost, {_years(protocol)}.",
        "Analysis": _abstract_analysis(protocol),
        "Results": _abstract_results(found),
        "Conclusions": _conclusions(found),
    }  # fmt: skip
    banner = [f"**{SIMULATED}**"] if protocol.study.synthetic else []
    show_text("\n\n".join([*banner, *(f"**{name}.** {text}" for name, text in parts.items())]), id="text-abstract")


def _years(protocol: Protocol) -> str:
    return f"from {protocol.dates.study_start} to {protocol.dates.end} (end not included)"


def _abstract_setting(protocol: Protocol) -> str:
    if protocol.exposure.by == "programme":
        return full_stop(protocol.study.place)
    when = f"on {facts.adoption_text(protocol)}" if protocol.dates.adoption else "at dates of their own"
    where = protocol.areas.treated_label if len(protocol.areas.treated) <= 3 else f"{len(protocol.areas.treated)} areas"
    whom = listed([*([", ".join(protocol.areas.comparators)] if protocol.areas.comparators else []),
                   *([f"{len(protocol.areas.donors)} further areas"] if protocol.areas.donors else [])])  # fmt: skip
    return f"The service was introduced in {where} {when}; the comparison was with {whom}."


def _abstract_analysis(protocol: Protocol) -> str:
    if protocol.exposure.by == "programme":
        return (f"Exposure was being in the programme ({protocol.exposure.programme}). With no period before and no "
                "comparison area, no effect is identified; returns to hospital are described.")  # fmt: skip
    kinds = {"readmission": "risk of readmission by overlap-weighted doubly robust difference-in-differences",
             "rate": "rates by Poisson difference-in-differences with intervals by permutation of areas",
             "cost": "public cost by log-link difference-in-differences with a bootstrap by person"}  # fmt: skip
    used = [text for kind, text in kinds.items() if protocol.outcomes_of(kind)]
    primary = sum(o.role == "primary" for o in protocol.outcomes)
    return (f"Outcomes ({primary} of them primary), estimands and estimators were fixed beforehand. We estimated "
            f"{listed(used)}.")  # fmt: skip


def _abstract_results(found: list[Finding]) -> str:
    if not any(f.has_number for f in found):
        return "None of the planned effects could be estimated; the reasons are given."
    said = [
        f"{_lower_first(f.outcome.label)}: {_estimate_words(f)}" for f in found if f.has_number
    ]  # fmt: skip
    none = [f.outcome.label for f in found if not f.has_number]
    text = full_stop(starts_with_capital("; ".join(said)))
    return f"{text} No number could be given for: {listed(none)}." if none else text


def _lower_first(label: str) -> str:
    return label[:1].lower() + label[1:]


_MEASURES = {"risk_difference": "risk difference", "rate_ratio": "rate ratio",
             "gbp_per_person_quarter": "difference per person-quarter"}  # fmt: skip


def _estimate_words(finding: Finding) -> str:
    measure = _MEASURES[finding.outcome.scale]
    unit = "GBP" if finding.outcome.scale == "gbp_per_person_quarter" else (
        "risk" if finding.outcome.scale == "risk_difference" else "ratio")  # fmt: skip
    text = with_interval(finding.value, finding.lower, finding.upper, unit)
    level = f", {100 * finding.level:.0f}% interval" if finding.has_range else ""
    return f"{measure} {text}{level} ({LADDER_SHORT[finding.certainty]})"


def _conclusions(found: list[Finding]) -> str:
    numbers = [f for f in found if f.has_number]
    if not numbers:
        return "These records and this design do not identify an effect. What is shown is a description."
    clear = [f for f in numbers if f.certainty in ("strong", "likely", "suggests")]
    if not clear:
        return (
            "For none of the primary outcomes do the intervals leave out no change. That is not evidence of no effect."
        )
    parts = [
        f"{f.outcome.label[:1].lower() + f.outcome.label[1:]} ({f.direction}; {LADDER_SHORT[f.certainty]})"
        for f in clear
    ]
    rest = len(numbers) - len(clear)
    text = f"The interval leaves out no change for {listed(parts)}."
    if rest:
        text += f" For the other {rest} it does not, which is not evidence of no effect."
    weak = list(dict.fromkeys(w for f in clear for w in f.weaknesses))
    return f"{text} Known weaknesses: {' '.join(full_stop(w) for w in weak)}" if weak else text


def show_background(release: Release) -> None:
    """What was evaluated, and why a comparison is needed."""
    protocol = release.protocol
    parts = [f"This report evaluates {protocol.study.service} in {protocol.study.place}."]
    parts += protocol.study.background
    if protocol.exposure.by == "area":
        parts.append(
            "People come into view when their use of services is high, so use tends to fall afterwards whatever "
            "is done: "
            "regression to the mean, which matching on earlier outcomes can itself bring in [@daw2018]. Each "
            "uncontrolled "
            "before-and-after comparison in this report is therefore labelled as not being evidence of effect."
        )
    if protocol.claims:
        parts.append(f"The protocol lists {len(protocol.claims)} statements made about the service. They are "
                     "set beside the "
                     "estimates, with their sources, after the results.")  # fmt: skip
    show_text("\n\n".join(parts), id="text-background")


def show_protocol(release: Release) -> None:
    """What was fixed before the data were seen."""
    protocol = release.protocol
    dates, people = protocol.dates, protocol.population
    lines = [
        f"Treated: {protocol.areas.treated_label} ({len(protocol.areas.treated)} area"
        f"{'s' if len(protocol.areas.treated) > 1 else ''}). Comparators with people's records: "
        f"{listed(protocol.areas.comparators)}. Further areas with counts only: {len(protocol.areas.donors)}.",
        f"Study window: {_period(protocol)}. Person-level baseline from {dates.baseline_start}; "
        f"{dates.anticipation_days} days before adoption belong to neither period.",
        f"People: {people.label}, aged {people.min_age_years} to {people.max_age_years}; look-back "
        f"{people.lookback_days} "
        f"days; washout {people.washout_days} days.",
        f"Interval level asked for: {100 * protocol.study.level:.0f}%. Seed {protocol.study.seed}; "
        f"{protocol.inference.bootstrap_replicates} bootstrap replicates.",
    ]
    show_text("All of this was written down before the data were seen; its digest is stamped on every number.\n\n"
              + "\n".join(f"- {line}" for line in lines), id="text-protocol")  # fmt: skip
    show_table(estimands_table(release), id="tab-estimands", caption="Estimands and planned estimators")
    show_table(definitions_table(release), id="tab-definitions", caption="Definitions of outcomes")
