"""The peer report's part on where people live, on going back again and again, and on whom it helped."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.pathway import PLACE_LABELS
from evalkit.report import figures
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.people_effects import (
    AFTER,
    DAYS,
    DAYS_IN_HOSPITAL,
    RECURRENCE,
    SUBGROUPS,
    PeopleEffect,
    find_effect,
    occupancy_rows,
    read_people_effects,
)
from evalkit.report.phrases import full_stop, service_short, starts_with_capital
from evalkit.report.plain import plain_reason
from evalkit.report.words import LADDER_SHORT

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_EVERY = 100  # people for whom admissions are told
_YEAR_DAYS = 365


def show_places(release: Release) -> None:
    """Where people are over the year with the service and without it, and how sure we are of each difference."""
    spec = release.protocol.pathway
    if spec is None:
        show_text("The plan did not ask where people live.", id="text-no-places")
        return
    service, place = service_short(release.protocol.study), release.protocol.areas.treated_label
    effects = read_people_effects(release, DAYS)
    if not any(e.has_number for e in effects):
        reason = next((e.reason for e in effects if e.reason), "")
        show_text(f"We could not work this out. {full_stop(plain_reason(reason))}", id="text-no-places")
        return
    show_text(
        f"Where a person lives matters as much as how often they are in hospital. So we looked at where people were "
        f"on each day. We took everybody in {place} who had been on a ward or in a care home in the year before "
        f"{service} began. We counted them whether or not {service} met them.\n\n"
        f"To say where they would have been without {service}, we used other groups. One is people in {place} at an "
        f"earlier time, from {_month(release.protocol.dates.baseline_start)} on. The others are people in nearby "
        "areas, at both times.",
        id="text-places",
    )  # fmt: skip
    rows = occupancy_rows(release)
    if len(rows):
        words = {"with_text": f"With {service}", "without_text": f"Without {service}"}
        show_figure(figures.plot_places(rows, **words), id="fig-places",
                    caption=f"Out of 100 people: where they were, with and without {service}",
                    alt=figures.describe_places(rows, **words))  # fmt: skip
    show_table(days_table(release, effects, service), id="tab-places",
               caption="Days in the year that a person spent in each place, on average",
               note="A range that goes from less to more means that we cannot tell.")  # fmt: skip
    show_text(_days_reading(release, effects, service), id="text-places-reading")
    moves = release.table("pathway.flow")
    if moves["value"].notna().any():
        show_figure(figures.plot_moves(moves, labels=PLACE_LABELS), id="fig-moves",
                    caption="Where people were at the start, and where a year later",
                    alt=figures.describe_moves(moves, labels=PLACE_LABELS))  # fmt: skip
        show_text("This picture shows moves. It does not show what caused them.", id="text-moves")


def _month(day: dt.date) -> str:
    return f"{day:%B %Y}"


def days_table(release: Release, effects: list[PeopleEffect], service: str) -> pd.DataFrame:
    """Days with and without the service, the range of the difference and how sure, one row a place."""
    means = release.table("pathway.means")
    value = {(r.row, r.column): r.value for r in means.itertuples()}
    plain = _plain_names(release)
    lines = []
    for effect in effects:
        state = effect.key.removeprefix("pathway_")
        seen, without = value.get((state, "with")), value.get((state, "without"))
        sure = "the service did not exist before" if _is_new(release, state) else LADDER_SHORT[effect.certainty]
        lines.append({
            "Where": starts_with_capital(plain[state]),
            f"With {service}": _whole(seen),
            "Without (our estimate)": _whole(without),
            "Range of doubt": _range(effect) if effect.has_range else "",
            "How sure": sure,
        })  # fmt: skip
    return pd.DataFrame(lines)


def _is_new(release: Release, state: str) -> bool:
    """Whether a state is a part of the programme: it could not be without it."""
    return any(s.key == state and s.components for s in release.protocol.pathway.states)


def _plain_names(release: Release) -> dict[str, str]:
    names = {s.key: s.plain for s in release.protocol.pathway.states}
    return names | {"not_recorded": "not recorded", "dead": "died"}


def _whole(days: float | None) -> str:
    return "not shown" if days is None or pd.isna(days) else f"{days:.0f}"


def _range(effect: PeopleEffect) -> str:
    """`28 fewer to 2 more`."""
    low, high = round(effect.lower), round(effect.upper)
    return f"{_more(low)} to {_more(high)}"


def _more(days: int) -> str:
    return "no change" if days == 0 else f"{abs(days)} {'fewer' if days < 0 else 'more'}"


def _days_reading(release: Release, effects: list[PeopleEffect], service: str) -> str:
    """What can be told, what cannot, and why not surer."""
    plain = _plain_names(release)
    told = [e for e in effects if not _is_new(release, e.key.removeprefix("pathway_"))]
    clear = [e for e in told if e.certainty in ("strong", "likely", "suggests")]
    parts = []
    if clear:
        lines = [f"- {starts_with_capital(plain[e.key.removeprefix('pathway_')])}: the figures suggest "
                 f"{'less' if e.value < 0 else 'more'} time there." for e in clear]  # fmt: skip
        parts += [f"**What {service} seems to have changed.**", "\n".join(lines)]
    unsure = [e for e in told if e.certainty == "too_uncertain"]
    if unsure:
        rest = "other " if clear else ""
        parts.append(f"For {len(unsure)} {rest}place{'s' if len(unsure) > 1 else ''} we cannot tell if {service} made "
                     "a difference. The range goes from less to more.")  # fmt: skip
    few = [e for e in told if e.certainty in ("cannot_tell", "not_released")]
    if few:
        names = [plain[e.key.removeprefix("pathway_")] for e in few]
        parts.append("Too few people were in some places to say anything: " + "; ".join(names) + ".")
    parts.append("Only a few areas are compared. Something else may have happened in one of them.")
    weak = dict.fromkeys(w for e in told for w in e.weaknesses)
    if weak:
        parts.append("\n".join(f"- {full_stop(w)}" for w in weak))
    return "\n\n".join(parts)


def show_again(release: Release) -> None:
    """All admissions and all days in hospital in the year after leaving a ward."""
    spec = release.protocol.after_discharge
    if spec is None:
        show_text("The plan did not ask how often people came back again.", id="text-no-again")
        return
    service = service_short(release.protocol.study)
    effects = read_people_effects(release, AFTER)
    horizon = "year" if spec.horizon_days == _YEAR_DAYS else f"{spec.horizon_days} days"
    parts = [
        f"Some people go back to hospital more than once. So we also counted every return in the {horizon} after "
        "leaving a ward. And we counted the days that people then spent in hospital."
    ]
    counts = find_effect(effects, RECURRENCE, "events per person")
    if counts is not None:
        parts.append(_count_sentences(counts, service, horizon))
    days = find_effect(effects, DAYS_IN_HOSPITAL, "days per person")
    if days is not None:
        parts.append(_day_sentences(days, service, horizon))
    show_text("\n\n".join(parts), id="text-again")


def _count_sentences(effect: PeopleEffect, service: str, horizon: str) -> str:
    if not effect.has_number:
        return f"**Returns.** We could not work this out. {full_stop(plain_reason(effect.reason))}"
    low, high = round(_EVERY * effect.lower), round(_EVERY * effect.upper)
    change = _more(round(_EVERY * effect.value))
    return (f"**Returns.** For every {_EVERY} people who left a ward, we think {service} meant {change} returns in the "
            f"{horizon}. The range of doubt goes from {_more(low)} to {_more(high)}. {_sure(effect)}")  # fmt: skip


def _day_sentences(effect: PeopleEffect, service: str, horizon: str) -> str:
    if not effect.has_number:
        return f"**Days.** We could not work this out. {full_stop(plain_reason(effect.reason))}"
    return (f"**Days.** For each person who left a ward, we think {service} meant {_more(round(effect.value))} days in "
            f"hospital in the {horizon}. The range of doubt goes from {_range(effect)}. {_sure(effect)}")  # fmt: skip


def _sure(effect: PeopleEffect) -> str:
    if effect.certainty == "too_uncertain":
        return "So we cannot tell."
    return "So the figures suggest a change, but few areas are compared."


def show_for_whom(release: Release) -> None:
    """Whether the effect differs between people: what was asked beforehand, and how little can be told."""
    spec = release.protocol.after_discharge
    effects = read_people_effects(release, SUBGROUPS)
    if spec is None or not spec.subgroups or not effects:
        show_text("The plan did not ask if some people were helped more than others.", id="text-no-whom")
        return
    service = service_short(release.protocol.study)
    shown = [e for e in effects if e.has_number]
    clear = [e for e in shown if e.certainty in ("strong", "likely", "suggests")]
    parts = [
        f"Did {service} help some people more than others? We named the groups before we saw the results. If you look "
        "at many groups, one will stand out by luck. Our method allows for that: it pulls all groups towards each "
        "other, as far as the figures do not force them apart."
    ]
    if clear:
        parts += ["The figures suggest a difference here:", "\n".join(f"- {e.label}." for e in clear)]
    elif shown:
        parts.append("We found no clear difference between groups. That does not mean that all were helped alike.")
    if len(shown) < len(effects):
        parts.append("For some groups there were too few people to say anything.")
    show_text("\n\n".join(parts), id="text-whom")
    if shown:
        rows = release.table(SUBGROUPS)
        words = "Difference between the two changes"
        show_figure(figures.plot_differences(rows, x=words), id="fig-whom",
                    caption="Going back to hospital: did the change differ between people?",
                    alt=figures.describe_differences(rows, x=words))  # fmt: skip
