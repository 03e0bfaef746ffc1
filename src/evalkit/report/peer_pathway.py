"""The peer report's part on where people live, on going back again and again, and on whom it helped."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.core.pathway import PLACE_LABELS
from evalkit.report import figures
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.peer_whom import show_for_whom
from evalkit.report.people_effects import (
    AFTER,
    DAYS,
    DAYS_IN_HOSPITAL,
    RECURRENCE,
    PeopleEffect,
    find_effect,
    occupancy_rows,
    read_people_effects,
)
from evalkit.report.phrases import full_stop, ratio_base, service_short, starts_with_capital
from evalkit.report.plain import plain_reason
from evalkit.report.words import LADDER_SHORT

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

__all__ = [
    "list_better", "list_possible_harms", "list_possible_returns", "list_worse", "show_again", "show_for_whom",
    "show_places",
]  # fmt: skip
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
        show_text(
            f"The picture has two bars for each time. Each bar is 100 people. The first bar is where people were. The "
            f"second bar is where we think they would have been without {service}. Nobody could see that: we worked it "
            "out, so it can be wrong. The numbers are rounded. "
            f"So {_small_gap(release)} between two bars means nothing.",
            id="text-bars",
        )  # fmt: skip
        show_figure(figures.plot_places(rows, **words), id="fig-places",
                    caption=f"Out of 100 people: where they were with {service}, and where we think without it",
                    alt=figures.describe_places(rows, **words))  # fmt: skip
    show_table(days_table(release, effects, service), id="tab-places",
               caption="Days in the year that a person spent in each place, on average",
               note=f'"Without {service}" is worked out, not seen. A range that goes from fewer to more means that we '
                    "cannot tell.")  # fmt: skip
    show_text(_days_reading(release, effects, service), id="text-places-reading")
    show_text(_harms_possible(release, effects, service), id="text-places-harms")
    moves = release.table("pathway.flow")
    if moves["value"].notna().any():
        show_figure(figures.plot_moves(moves, labels=PLACE_LABELS), id="fig-moves",
                    caption="Where people were at the start, and where a year later",
                    alt=figures.describe_moves(moves, labels=PLACE_LABELS))  # fmt: skip
        show_text("This picture shows moves that were seen. It does not show what caused them. Grey bands are moves "
                  "of too few people to show.", id="text-moves")  # fmt: skip


def _small_gap(release: Release) -> str:
    """The gap between two bars that rounding alone can make, in people out of 100."""
    rows = release.table("pathway.occupancy")
    people = rows.loc[rows["column"] == "everybody", "value"].max()
    if pd.isna(people):
        return "a small gap"
    gap = math.ceil(100 * release.manifest["profile"]["base"] / people)
    return f"a gap of {gap} people or fewer" if gap > 1 else "a gap of one person"


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
        if without is not None and without < 0:
            without = 0.0  # worked out from other groups, it can fall below what is possible
        sure = "the service did not exist before" if _is_new(release, state) else LADDER_SHORT[effect.certainty]
        lines.append({
            "Where": starts_with_capital(plain[state]),
            f"With {service}": _whole(seen),
            f"Without {service} (worked out)": _whole(without),
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
    """`28 fewer to 2 more`; an end that only rounding puts on no change says so."""
    return f"{_end(effect.lower)} to {_end(effect.upper)}"


def _end(days: float) -> str:
    if round(days) == 0 and days != 0:
        return f"less than 1 {'fewer' if days < 0 else 'more'}"
    return _more(round(days))


def _more(days: int) -> str:
    return "no change" if days == 0 else f"{abs(days)} {'fewer' if days < 0 else 'more'}"


def _days_reading(release: Release, effects: list[PeopleEffect], service: str) -> str:
    """What can be told, what cannot, and why not surer."""
    plain = _plain_names(release)
    told = [e for e in effects if not _is_new(release, _state(e))]
    clear = [e for e in told if e.certainty in ("strong", "likely", "suggests")]
    parts = []
    if clear:
        lines = [f"- {starts_with_capital(plain[_state(e)])}: the figures suggest {'less' if e.value < 0 else 'more'} "
                 f"time there.{_valence(_better(release, e), e.value)}" for e in clear]  # fmt: skip
        parts += [f"**What {service} seems to have changed.**", "\n".join(lines)]
        if len(told) > 1:
            parts.append(f"We looked at {len(told)} places. Of many places one can stand out by chance alone.")
    unsure = [e for e in told if e.certainty == "too_uncertain"]
    if unsure:
        rest, many = "other " if clear else "", "s" if len(unsure) > 1 else ""
        parts += [f"**What we cannot tell.** For {len(unsure)} {rest}place{many} we cannot tell if {service} made a "
                  "difference. The range goes from less time there to more. That does not mean that nothing changed:",
                  "\n".join(f"- {starts_with_capital(plain[_state(e)])}." for e in unsure)]  # fmt: skip
    silent = [e for e in told if e.certainty in ("cannot_tell", "not_released")]
    few = [e for e in silent if _state(e) != "dead"]
    if len(few) < len(silent):
        parts.append("We cannot tell if the number of people who died was changed. [Bad news](#bad-news) says more.")
    if few:
        parts += ["Too few people were in some places, or moved in or out, to say anything about them:",
                  "\n".join(f"- {starts_with_capital(plain[_state(e)])}." for e in few)]  # fmt: skip
    parts.append("Only a few areas are compared. Something else may have happened in one of them.")
    weak = dict.fromkeys(w for e in told for w in e.weaknesses)
    if weak:
        parts.append("\n".join(f"- {full_stop(w)}" for w in weak))
    return "\n\n".join(parts)


def _harms_possible(release: Release, effects: list[PeopleEffect], service: str) -> str:
    """The worst end of each range for places of which people want less, or more, and what nobody can rule out."""
    told = _wanted_less_or_more(release, effects)
    lines = list_possible_harms(release)
    parts = []
    if lines:
        parts += ["**Harms that we cannot rule out.** These are the worst ends of the ranges. In a year, a person "
                  f"could have had this much more, or this much less, time there because of {service}:",
                  "\n".join(lines)]  # fmt: skip
    elif any(e.has_range for e in told):
        parts.append("**Harms.** None of the ranges that we could work out reaches a harm.")
    if any(not e.has_range for e in told):
        parts.append("Where too few people were in a place, we cannot rule out a harm either.")
    return "\n\n".join(parts) or "**Harms.** We could not work out if any place was for the worse."


def list_possible_harms(release: Release) -> list[str]:
    """`- In a care home: up to 21 days more.` for each place whose range holds a harm; nothing without a pathway."""
    if release.protocol.pathway is None:
        return []
    plain = _plain_names(release)
    told = _wanted_less_or_more(release, read_people_effects(release, DAYS))
    return [f"- {starts_with_capital(plain[_state(e)])}: up to {days}." for e in told if (days := _worst(release, e))]


def list_possible_returns(release: Release) -> list[str]:
    """`- Up to 13 more returns to hospital, out of 100 people.` where the ranges after leaving a ward hold a harm."""
    if release.protocol.after_discharge is None:
        return []
    effects = read_people_effects(release, AFTER)
    lines = []
    for key, unit, scale, words in (
        (RECURRENCE, "events per person", _EVERY, f"returns to hospital, for every {_EVERY} people"),
        (DAYS_IN_HOSPITAL, "days per person", 1, "days in hospital, for each person"),
    ):
        effect = find_effect(effects, key, unit)
        if effect is not None and effect.has_range and effect.upper > 0:
            lines.append(f"- Up to {_end(scale * effect.upper)} {words}.")
    return lines


def list_better(release: Release) -> list[str]:
    """What seems to have got better in places and returns, in the words of `list_worse`."""
    return _list_changes(release, "better")


def list_worse(release: Release) -> list[str]:
    """What seems to have got worse in places and returns: `more time in a care home`, `more returns to hospital`."""
    return _list_changes(release, "worse")


def _list_changes(release: Release, wanted: Literal["better", "worse"]) -> list[str]:
    found = []
    if release.protocol.pathway is not None:
        plain = _plain_names(release)
        for effect in _wanted_less_or_more(release, read_people_effects(release, DAYS)):
            better = "lower" if effect.value < 0 else "higher"
            is_better = better == _better(release, effect)
            if effect.certainty in ("strong", "likely", "suggests") and is_better == (wanted == "better"):
                found.append(f"{'less' if effect.value < 0 else 'more'} time {plain[_state(effect)]}")
    if release.protocol.after_discharge is not None:
        effects = read_people_effects(release, AFTER)
        for key, unit, words in (
            (RECURRENCE, "events per person", "returns to hospital"),
            (DAYS_IN_HOSPITAL, "days per person", "days in hospital after leaving a ward"),
        ):
            effect = find_effect(effects, key, unit)
            if effect is None or effect.certainty not in ("strong", "likely", "suggests"):
                continue
            if (effect.value < 0) == (wanted == "better"):
                found.append(f"{'fewer' if effect.value < 0 else 'more'} {words}")
    return found


def _wanted_less_or_more(release: Release, effects: list[PeopleEffect]) -> list[PeopleEffect]:
    return [e for e in effects if not _is_new(release, _state(e)) and _better(release, e) != "neither"]


def _state(effect: PeopleEffect) -> str:
    return effect.key.removeprefix("pathway_")


def _better(release: Release, effect: PeopleEffect) -> str:
    """Whether more days in the state are `higher` (better), `lower` or `neither`; nobody wants more deaths."""
    wanted = {s.key: s.better for s in release.protocol.pathway.states} | {"dead": "lower"}
    return wanted.get(_state(effect), "neither")


def _valence(better: str, value: float) -> str:
    if better == "neither" or value == 0:
        return ""
    return " That is for the better." if (value < 0) == (better == "lower") else " **That is for the worse.**"


def _worst(release: Release, effect: PeopleEffect) -> str:
    """The end of the range that people want least, `21 days more`; empty where it is no harm."""
    better = _better(release, effect)
    end = effect.upper if better == "lower" else effect.lower
    if not effect.has_range or better == "neither" or (end <= 0 if better == "lower" else end >= 0):
        return ""
    size = f"{abs(end):.0f} day{'' if round(abs(end)) == 1 else 's'}" if round(abs(end)) else "less than a day"
    return f"{size} {'more' if end > 0 else 'fewer'}"


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
    _show_returns(effects, service, horizon)


def _show_returns(effects: list[PeopleEffect], service: str, horizon: str) -> None:
    """Returns with and without the service as paired rows, from the ratio that stands beside the difference."""
    ratio = find_effect(effects, RECURRENCE, "ratio")
    if ratio is None or not ratio.has_range:
        return
    ends = (ratio.value, ratio.lower, ratio.upper)
    base = ratio_base(*ends)
    options = {"ratio": ends, "unit": "returns", "base": base,
               "titles": (f"Expected without {service}", f"With {service}, where {base} were expected")}  # fmt: skip
    show_figure(figures.plot_ratio_icons(**options), id="fig-again-icons",
                caption=f"All returns to hospital in the {horizon}, with and without {service}",
                alt=figures.describe_ratio_icons(**options))  # fmt: skip


def _count_sentences(effect: PeopleEffect, service: str, horizon: str) -> str:
    if not effect.has_number:
        return f"**Returns.** We could not work this out. {full_stop(plain_reason(effect.reason))}"
    told = _change_sentences(effect, service, scale=_EVERY, unit="returns")
    return f"**Returns.** We tell this for every 100 people who left a ward, in the {horizon}. {told}"


def _day_sentences(effect: PeopleEffect, service: str, horizon: str) -> str:
    if not effect.has_number:
        return f"**Days.** We could not work this out. {full_stop(plain_reason(effect.reason))}"
    told = _change_sentences(effect, service, scale=1, unit="days in hospital")
    return f"**Days.** We tell this for each person who left a ward, in the {horizon}. {told}"


def _change_sentences(effect: PeopleEffect, service: str, *, scale: int, unit: str) -> str:
    """Our best answer, its range, how sure, and the harm that the range leaves possible; fewer is better."""
    change = round(scale * effect.value)
    best = f"{_more(change)} {unit}" if change else f"no change in {unit}"
    if not effect.has_range:
        return f"Our best answer is {best}. It has no range of doubt, so we cannot tell."
    low, high = scale * effect.lower, scale * effect.upper
    parts = [f"Our best answer is {best} with {service} than without it." if change else f"Our best answer is {best}.",
             f"The range of doubt goes from {_end(low)} to {_end(high)}."]  # fmt: skip
    if effect.certainty == "too_uncertain":
        parts.append(f"So we cannot tell if {service} changed this.")
        if high > 0:
            parts.append(f"It could be a harm: up to {_end(high)}.")
    else:
        parts.append(f"So the figures suggest a change, but few areas are compared.{_valence('lower', effect.value)}")
    return " ".join(parts)
