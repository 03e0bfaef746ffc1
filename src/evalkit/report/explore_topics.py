"""The topics of the interactive page in their order: what there is to look at in a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.core.outcomes import Outcome
from evalkit.core.pathway import DEAD
from evalkit.report import facts
from evalkit.report.explore_chosen import answers_chosen
from evalkit.report.explore_data import (
    Answer,
    Choice,
    Group,
    Names,
    Topic,
    answer_without,
    build_topic,
    key_of,
    read_names,
)  # fmt: skip
from evalkit.report.explore_effects import answer_effect, answers_years
from evalkit.report.explore_people import (
    answer_days,
    answer_hospital_days,
    answer_returns,
    answer_subgroup,
    answers_place,
    place_times,
    place_topics,
    subgroup_choices,
)  # fmt: skip
from evalkit.report.explore_seen import (
    answer_percents,
    answer_recurrence,
    answers_money_over_time,
    answers_over_time,
    answers_readmission,
    place_words,
    recurrence_whos,
)  # fmt: skip
from evalkit.report.people_effects import DAYS, read_people_effects
from evalkit.report.phrases import starts_with_capital

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_DEATHS_NOTE = "This part is about deaths. You can choose something else above."
Found = list[tuple[Choice, Choice, Answer]]


def build_topics(release: Release) -> tuple[Topic, ...]:
    """Everything there is to look at, harms beside benefits, sorted by the groups of the page."""
    names = read_names(release)
    topics = [*_readmission(release, names), *_left_hospital(release, names), *_returns(release, names)]
    topics += [_rate(release, o, names) for o in release.protocol.outcomes_of("rate")]
    topics += [*_places(release, names), *_money(release, names)]
    topics += [
        build_topic(
            f"chosen-{key_of(item.key)}", f"People who {item.plain}", "chosen", answers_chosen(release, item, names)
        )
        for item in release.protocol.chosen
    ]
    order: tuple[Group, ...] = ("hospital", "harms", "homes", "chosen", "money")
    return tuple(t for group in order for t in topics if t.group == group and t.answers)


def with_without(names: Names) -> Choice:
    return Choice("with-and-without", names.with_without)


def side_by_side(names: Names) -> Choice:
    return Choice("side-by-side", names.side_by_side)


# ---- topics -------------------------------------------------------------------------------------


def _readmission(release: Release, names: Names) -> list[Topic]:
    """Going back, with its horizons as times; kinds of people at the horizon that the plan named."""
    outcomes = release.protocol.outcomes_of("readmission")
    if not outcomes:
        return []
    stem, ends = _split(outcomes)
    asked_of = release.protocol.after_discharge.subgroups_of if release.protocol.after_discharge else ""
    found: Found = []
    for outcome, end in zip(outcomes, ends, strict=True):
        when = Choice(f"{outcome.horizon_days}-days", starts_with_capital(end))
        found.append((with_without(names), when, answer_effect(release, outcome, names)))
    named = dict(zip([o.key for o in outcomes], ends, strict=True)).get(asked_of, "")
    for outcome, end in zip(outcomes, ends, strict=True):
        for period, answer in answers_readmission(release, outcome, names):
            words = f"{starts_with_capital(end)}, {'with' if period == 'after' else 'before'} {names.service}"
            found.append((side_by_side(names), Choice(f"{outcome.horizon_days}-days-{period}", words), answer))
    for key, who in subgroup_choices(release):
        for outcome, end in zip(outcomes, ends, strict=True):
            answer = answer_without(None, asked=f"For these people it asks only about going back {named}.")
            if outcome.key == asked_of:
                answer = answer_subgroup(release, key, names)
            found.append((who, Choice(f"{outcome.horizon_days}-days", starts_with_capital(end)), answer))
    return [build_topic("going-back", starts_with_capital(stem), "hospital", found)]


def _split(outcomes: tuple[Outcome, ...]) -> tuple[str, list[str]]:
    """The words that horizons share, and what is left of each: `going back …` and `within 3 months of leaving`."""
    parts = [o.plain.partition(" within ") for o in outcomes]
    if len({stem for stem, *_ in parts}) == 1 and all(mark for _, mark, _ in parts):
        return parts[0][0], [f"within {rest}" for *_, rest in parts]
    return "going back to hospital", [f"within {o.horizon_days} days" for o in outcomes]


def _left_hospital(release: Release, names: Names) -> list[Topic]:
    """Deaths, and going back at any time, of people who left hospital."""
    if not facts.release_has(release, "description.recurrence"):
        return []
    when = Choice("study", "At any time in the study")
    year = Choice("year", "Within a year of leaving hospital")
    deaths: Found = []
    again: Found = []
    for who, rows in recurrence_whos(release, names):
        deaths.append((who, when, answer_recurrence(release, rows, "deaths", happened="died",
                                                    not_happened="did not die")))  # fmt: skip
        if who.key == "side-by-side":
            deaths.append((who, year, _deaths_in_year(release, names)))
        again.append((who, when, answer_recurrence(release, rows, "people_readmitted", happened="went back",
                                                   not_happened="did not go back")))  # fmt: skip
    deaths.append((with_without(names), when, _deaths_effect(release)))
    return [
        build_topic("going-back-ever", "Going back to hospital, ever", "hospital", again),
        build_topic("deaths", "Deaths of people who left hospital", "harms", deaths, note=_DEATHS_NOTE),
    ]


def _deaths_in_year(release: Release, names: Names) -> Answer:
    rows = [(group, facts.cell(release, "readmission_counts", f"{group}|after", "died_365d_percent"))
            for group in (names.treated, "Comparators")]  # fmt: skip
    kept = [(group, cell) for group, cell in rows if cell is not None]
    if not kept:
        return answer_without(None, asked="Nobody counted it.")
    return answer_percents([(cell, place_words(group), float(cell["value"])) for group, cell in kept],
                           said="people leaving hospital", happened="died", not_happened="did not die")  # fmt: skip


def _deaths_effect(release: Release) -> Answer:
    rows = release.table("pathway.days")
    rows = rows[rows["row"].str.startswith("pathway_dead.") & (rows["role"] != "naive")]
    if rows.empty or rows.iloc[0]["status"] == "shown":
        return answer_without(None, asked="So we do not know if the service changed how many people died.")
    return answer_without(rows.iloc[0])


def _returns(release: Release, names: Names) -> list[Topic]:
    spec = release.protocol.after_discharge
    if spec is None or not facts.release_has(release, "after_discharge"):
        return []
    span = "a year" if spec.horizon_days == 365 else f"{spec.horizon_days} days"
    when = Choice("all", f"In {span} after leaving")
    return [
        build_topic("returns", "Going back again and again (every return counts)", "hospital",
                    [(with_without(names), when, answer_returns(release, names))]),
        build_topic("days-after-leaving", "Days in hospital after leaving a ward", "hospital",
                    [(with_without(names), when, answer_hospital_days(release, names))]),
    ]  # fmt: skip


def _rate(release: Release, outcome: Outcome, names: Names) -> Topic:
    whole = Choice("all", f"The whole time with {names.service}")
    found: Found = [(with_without(names), whole, answer_effect(release, outcome, names))]
    found += [(with_without(names), when, answer) for when, answer in answers_years(release, outcome, names)]
    found += [(side_by_side(names), when, answer) for when, answer in answers_over_time(release, outcome, names)]
    return build_topic(key_of(outcome.key), starts_with_capital(outcome.plain), _group(release, outcome), found)


def _group(release: Release, outcome: Outcome) -> Group:
    """Where use may have moved is looked at as a harm; wards are hospital, all else is where people live."""
    moved_to = {key for o in release.protocol.outcomes_of("rate") for key in o.displaced_to}
    if outcome.role == "sensitivity" and outcome.key in moved_to and not outcome.displaced_to:
        return "harms"
    return "hospital" if outcome.event.startswith("ward") else "homes"


def _places(release: Release, names: Names) -> list[Topic]:
    spec = release.protocol.pathway
    if spec is None:
        return []
    when, effects = Choice("year", f"In the first {spec.horizon_days} days"), read_people_effects(release, DAYS)
    topics = [
        build_topic(f"days-{key_of(key)}", starts_with_capital(f"days {plain}"), "harms" if harm else "homes",
                    [(with_without(names), when, answer_days(release, effects, key, names))])
        for key, plain, harm in place_topics(release, effects) if key != "dead"
    ]  # fmt: skip
    for key, label in place_times(release).items():
        found = [(with_without(names), time, answer) for time, answer in answers_place(release, key, names)]
        with_deaths = DEAD in key.split("+")
        topics.append(build_topic(f"place-{key_of(key)}", f"How many were {label}", "harms" if with_deaths else "homes",
                                  found, note=_DEATHS_NOTE if with_deaths else ""))  # fmt: skip
    return topics


def _money(release: Release, names: Names) -> list[Topic]:
    topics = []
    for outcome in release.protocol.outcomes_of("cost"):
        whole = Choice("all", f"The whole time with {names.service}")
        found: Found = [(with_without(names), whole, answer_effect(release, outcome, names))]
        found += [(side_by_side(names), when, a) for when, a in answers_money_over_time(release, names)]
        topics.append(build_topic(key_of(outcome.key), starts_with_capital(outcome.plain), "money", found))
    return topics
