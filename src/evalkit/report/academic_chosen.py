"""Outcomes that people chose, in the academic report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.chosen import CHOSEN_BY_LABELS, ChosenOutcome
from evalkit.report.academic_results import nothing
from evalkit.report.chosen_facts import BOUNDS, CHANGE, SHARES, ChosenFact, Shares, read_chosen
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.figures_chosen import describe_chosen, plot_chosen, told
from evalkit.report.phrases import full_stop, starts_with_capital

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

TABLES = (SHARES, CHANGE, BOUNDS, f"checks.{CHANGE}")  # of the release, that the section is made of
METHOD = (
    "For the cohort at go-live (the people whose costs are counted; area of that day, intention to treat) the last "
    "record of each year says whether a person had the outcome: {before} before, and {after} after. Shares are of "
    "those recorded. The estimate is the difference in changes, $(\\bar y_{{T1}} - \\bar y_{{T0}}) - (\\bar y_{{C1}} - "
    "\\bar y_{{C0}})$, from available records and without covariates. Its variance sums squared influence by person, "
    "$$\\psi_i = r_{{i1}}(y_{{i1}} - \\bar y_1)/n_1 - r_{{i0}}(y_{{i0}} - \\bar y_0)/n_0,$$ with Satterthwaite's "
    "degrees of freedom. It is right if, without the service, recorded shares had moved in parallel: both the outcome "
    "and who is recorded. Intervals count people; with one treated area they do not count what else happened to it."
)
MISSING = (
    "People who are worse may be asked less often, so that records need not be missing at random. Nothing is imputed. "
    "The bounds give the same difference if those without a record, of all who could have been asked, had it or had it "
    "not: all of them, none of them, and the least and the most that the difference could be (worst-case bounds, with "
    "no assumption). Outcomes with fewer records than the protocol asks for, in either group and year, have no "
    "estimate. Changes, bounds and their intervals are worked out anew from the released shares and rounded counts: "
    "rounding is part of the error, and a person's two years are taken to be independent, which is wider than the "
    "clustered error where people who had the outcome before are likelier to have it after."
)


def show_chosen(release: Release) -> None:
    """Who chose the outcomes and from what they are read; shares and records; differences, bounds and failed checks."""
    if not release.protocol.chosen:
        nothing("outcome that people chose: the protocol names none", id="text-no-chosen")
        return
    facts = read_chosen(release)
    before, after = release.protocol.chosen_windows
    show_text(METHOD.format(before=before, after=after), id="text-chosen")
    show_text(MISSING, id="text-chosen-missing")
    show_table(_definitions(facts), id="tab-chosen-items", note=_who_chose(facts),
               caption="Outcomes that people chose, and where they are recorded")  # fmt: skip
    if any(fact.status != "not_recorded" for fact in facts):
        show_table(_share_table(release, facts), id="tab-chosen-shares",
                   caption="Share of people with each outcome, and share of people with a record",
                   note="Per cent. Shares of those recorded; counts behind them are rounded.")  # fmt: skip
    show_table(_change_table(release, facts), id="tab-chosen-change",
               caption="Difference in changes, and what the missing could do",
               note="Percentage points; 0 is no difference. Worst-case bounds let those without a record answer as "
                    "far as can be one way or the other; of outcomes that did not change, one in twenty is expected "
                    "to have an interval without 0.")  # fmt: skip
    if any(fact.has_number for fact in facts):
        show_figure(plot_chosen(facts), id="fig-chosen", alt=describe_chosen(facts),
                    caption="Outcomes that people chose: difference in changes; worst-case bounds dashed")  # fmt: skip
        show_text(_failed(release, facts), id="text-chosen-checks")


def _failed(release: Release, facts: list[ChosenFact]) -> str:
    """The checks that failed of single outcomes, in their own words; that of few areas fails of all."""
    checks = release.table(f"checks.{CHANGE}").set_index(["row", "column"])["reason"]
    lines = [
        f"- {fact.outcome.label}: {checks[fact.outcome.key, name]}"
        for fact in facts for name in fact.failed if (fact.outcome.key, name) in checks.index
    ]  # fmt: skip
    few = "Of every outcome the check of few areas fails: an interval cannot see what hit one area alone."
    return f"{few} No other check failed." if not lines else "\n".join([few, "", *lines])


def _who_chose(facts: list[ChosenFact]) -> str:
    by = dict.fromkeys(fact.outcome.chosen_by for fact in facts)
    if len(by) == 1:
        return f"Chosen by: {full_stop(CHOSEN_BY_LABELS[next(iter(by))])}"
    return " ".join(
        f"Chosen by {CHOSEN_BY_LABELS[who]}: "
        + "; ".join(f.outcome.label for f in facts if f.outcome.chosen_by == who)
        + "."
        for who in by
    )


def _definitions(facts: list[ChosenFact]) -> pd.DataFrame:
    return pd.DataFrame({
        "Outcome": [fact.outcome.label for fact in facts],
        "Counted": [starts_with_capital(fact.outcome.plain) for fact in facts],
        "Recorded in": [_source(fact.outcome) for fact in facts],
        "Least recorded": [f"{f.outcome.least_recorded:.0%}" if f.outcome.record != "none" else "" for f in facts],
    })  # fmt: skip


def _source(item: ChosenOutcome) -> str:
    match item.record:
        case "activity":
            return f"activities: {_listed(item.activities)}; yes: {_listed(item.yes)}; no: {_listed(item.no)}"
        case "health_check":
            return f"health checks: {_listed(item.checks)}, done"
        case "answers":
            low, high = item.scale
            return (
                f"{item.instrument}: {_listed(item.items)}, {item.at_least:g} or more on a scale of {low:g} to {high:g}"
            )
        case _:
            return "nothing in these records asks about it"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _share_table(release: Release, facts: list[ChosenFact]) -> pd.DataFrame:
    rows = [
        (fact.outcome.label, group, shares)
        for fact in facts if fact.outcome.record != "none"
        for group, shares in ((release.protocol.areas.treated_label, fact.service), ("Comparators", fact.comparators))
    ]  # fmt: skip
    return pd.DataFrame({
        "Outcome": [label for label, *_ in rows],
        "Group": [group for _, group, _ in rows],
        "Before": [_percent(s.before) for *_, s in rows],
        "After": [_percent(s.after) for *_, s in rows],
        "Recorded before": [_recorded(s, "before") for *_, s in rows],
        "Recorded after": [_recorded(s, "after") for *_, s in rows],
    })  # fmt: skip


def _percent(value: float) -> str:
    return f"{value:.1f}" if value == value else "not shown"


def _recorded(shares: Shares, period: str) -> str:
    if getattr(shares, f"nearly_all_{period}"):
        return "nearly all"
    return _percent(getattr(shares, f"recorded_{period}"))


def _change_table(release: Release, facts: list[ChosenFact]) -> pd.DataFrame:
    return pd.DataFrame({
        "Outcome": [fact.outcome.label for fact in facts],
        f"Difference ({release.protocol.study.level:.0%} interval)": [
            told(fact).split(";")[0] if fact.has_number else full_stop(fact.reason or told(fact)) for fact in facts
        ],
        "All / none of the missing had it": [_pair(fact.if_all_did, fact.if_none_did) for fact in facts],
        "Worst-case bounds": [_pair(fact.least, fact.most, between=" to ") for fact in facts],
        "Checks failed": [", ".join(name.replace("_", " ") for name in fact.failed) for fact in facts],
    })  # fmt: skip


def _pair(first: float, second: float, *, between: str = " / ") -> str:
    if first != first or second != second:
        return ""
    return f"{first:.1f}{between}{second:.1f}".replace("-", "−")
