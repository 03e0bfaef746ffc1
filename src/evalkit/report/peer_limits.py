"""The peer report's last parts: limits, who is missing, how it was done, glossary, how to question it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts, figures
from evalkit.report.chosen_facts import read_chosen
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.peer_whom import WHO_PAIRS
from evalkit.report.people_effects import SUBGROUPS, read_people_effects
from evalkit.report.phrases import headline, service_short, starts_with_capital
from evalkit.report.plain import empty_by_nature, glossary, plain_column, plain_reason, word_anchor

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_NOT_PLANNED = {
    "activities": "work, volunteering, learning and connections", "assessments": "what people said of their own lives",
    "health_checks": "physical health",
}  # fmt: skip

_CHOSEN_TABLES = {"activity": "activities", "answers": "assessments", "health_check": "health_checks"}

_NAIVE_COLUMNS = ("What", "Before and after only (not evidence)", "Compared with other places")


def show_limits(release: Release) -> None:
    """What these records and this design cannot say."""
    protocol, service = release.protocol, service_short(release.protocol.study)
    lines = []
    if protocol.study.synthetic:
        lines.append("The records are simulated. Nothing here is true of real people or of the real service.")
    for row in facts.not_shown(release).itertuples():
        outcome = protocol.outcome(row.outcome)
        if row.role == "primary" or (outcome.role == "sensitivity" and row.estimator == outcome.estimator):
            why = "Too few people are behind it." if row.status == "suppressed" else plain_reason(row.reason)
            lines.append(f"{starts_with_capital(outcome.plain)}: there is no number. {why}")
    if protocol.exposure.by == "area" and facts.any_number(release):
        lines.append("Nobody drew lots for who got the service. So the places may differ in ways we cannot see.")
        lines.append("We counted people whether or not they met the service. "
                     "So it cannot say what the service did for those who met it.")  # fmt: skip
        lines.append(f"It cannot say what would happen if another place set up {service}.")
    asked = {_CHOSEN_TABLES[c.record] for c in protocol.chosen if c.record in _CHOSEN_TABLES}
    held = [words for table, words in _NOT_PLANNED.items()
            if table not in asked and len(facts.table_row(release, "data_tables", table))]  # fmt: skip
    lines += [f"Nobody asked if people {c.plain}. It is not recorded." for c in protocol.chosen if c.record == "none"]
    if held:
        lines += [f"The plan did not ask about {words}. Records of it are there." for words in held]
    if any(c.record == "answers" for c in protocol.chosen):
        lines.append("It says little of what people wanted or how they felt: only answers that staff wrote down.")
    else:
        lines.append("It does not say what people wanted, how they felt, or if they had a choice.")
    lines.append("Records were made for running services. They leave out what nobody wrote down.")
    show_text("\n".join(f"- {line}" for line in lines), id="text-limits")


def show_missing(release: Release) -> None:
    """Who was left out, what was not recorded, and how many numbers are held back."""
    limit = facts.threshold(release)
    rows = _plain_flow(facts.attrition(release))
    show_text(_missing_words(release, rows), id="text-missing")
    if len(rows):
        show_figure(figures.plot_flow(rows, threshold=limit), id="fig-flow", caption="Who was counted and who was not",
                    alt=figures.describe_flow(rows, threshold=limit))  # fmt: skip
    table = missing_table(release)
    if len(table):
        show_table(table, id="tab-missing", caption="What was not written down",
                   note="If gaps are more common for some groups of people, the results fit those people less "
                        "well.")  # fmt: skip
    counts = release.manifest.get("counts", {})
    held = int(counts.get("suppressed", 0))
    if held:
        text = (f"{held:,} of {int(counts.get('numbers', held)):,} numbers are held back. A number below "
                f"{limit} could point "
                "at one person. Others are held back so that nobody can work it out. All other counts are "
                "rounded.")  # fmt: skip
    else:
        text = f"No number had to be held back. Any count below {limit} would have been. Counts are rounded."
    if facts.kept_from_before(release):
        text += (" Some numbers are the same as in the last report. Only a few people changed, and a new number "
                 "could point at them.")  # fmt: skip
    show_text(text, id="text-withheld")


def _plain_flow(rows: pd.DataFrame) -> pd.DataFrame:
    """The steps of the flow chart in words for everybody."""
    words = {"People in the tables": "People in the records", "go-live": "the start", "Comparators": "The other places"}
    return rows.assign(label=rows["label"].astype(str).replace(words, regex=True))


def _missing_words(release: Release, rows: pd.DataFrame) -> str:
    """Who was counted, who was left out and why, who is in no record, and whom the numbers cannot speak for."""
    parts = []
    people = rows[rows["column"] == "people"].set_index("row")["value"]
    start, kept = (float(people.get(row, math.nan)) for row in ("start", "included"))
    if math.isfinite(start) and math.isfinite(kept):
        parts.append(f"The records hold {start:,.0f} people. We followed {kept:,.0f} of them one by one. "
                     f"So about {_of_100((start - kept) / start)} were left out. The picture says why.")  # fmt: skip
    lines = ["People who were never offered help, or who stayed away, may be in no record.", *_not_asked(release)]
    for name in _hidden_groups(release):
        lines.append(f"{starts_with_capital(name)}: too few to say anything about them alone.")
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in lines)])


def _not_asked(release: Release) -> list[str]:
    """Of how many people nobody wrote down what matters to them, where that is released."""
    missing = [100 - cell for fact in read_chosen(release) for group in (fact.service, fact.comparators)
               for cell in (group.recorded_before, group.recorded_after) if math.isfinite(cell)]  # fmt: skip
    if not missing or round(max(missing)) < 1:
        return []
    ends = sorted({round(min(missing)), round(max(missing))})
    size = f"up to {ends[-1]}" if len(ends) > 1 else f"about {ends[0]}"
    return [f"[What matters to people](#what-matters-to-people): {size} out of 100 have no answer, "
            "depending on the question and the year."]  # fmt: skip


def _of_100(share: float) -> str:
    return f"{round(100 * share)} out of 100" if share >= 0.005 else "fewer than 1 out of 100"


def _hidden_groups(release: Release) -> list[str]:
    """Kinds of people whom the plan names and for whom nothing is released."""
    spec = release.protocol.after_discharge
    effects = read_people_effects(release, SUBGROUPS)
    if spec is None:
        return []
    silent = {e.key.split(".")[0] for e in effects if not e.has_number}
    return [WHO_PAIRS[name][0] for name in spec.subgroups if name in silent and name in WHO_PAIRS]


def missing_table(release: Release) -> pd.DataFrame:
    """Columns with gaps that are gaps, and how large they are."""
    rows = release.table("data_missing")
    out = []
    for row in dict.fromkeys(rows["row"]):
        if empty_by_nature(str(row)):
            continue
        percent = facts.cell_value(release, "data_missing", row, "percent")
        count = facts.cell_value(release, "data_missing", row, "missing")
        size = f"about {percent:.0f} out of 100" if percent >= 0.5 else "fewer than 1 out of 100"
        if not math.isfinite(percent):
            size = f"{count:,.0f} records" if math.isfinite(count) else "not released"
        out.append({"What": starts_with_capital(plain_column(str(row))), "Missing": size})
    return pd.DataFrame(out, columns=["What", "Missing"])


def show_method(release: Release) -> None:
    """How it was done, in plain words, and why before and after is not evidence."""
    protocol, service = release.protocol, service_short(release.protocol.study)
    parts = ["We wrote a plan before we saw any result. It says what to count and how."]
    if facts.any_number(release):
        parts += _comparison(release, service)
    else:
        parts.append("The plan found no fair way to work out an effect. So we only describe what happened.")
    if any(o.kind == "rate" for o in protocol.outcomes) and facts.any_number(release):
        parts.append("Then we pretended that each other place had the service. "
                     "If many of them show as big a change, chance can explain ours. That gives the range of "
                     "doubt.")  # fmt: skip
    parts.append("Last, a check held back every small number. Only what passed it is in this report.")
    show_text("\n\n".join(parts), id="text-method")
    table = naive_table(release)
    if len(table):
        show_text(
            "### Why before and after is not evidence\n\nPeople often come to a service when things are at "
            "their worst. "
            "Most would get better anyway. Other things change too: laws, money, other services. "
            "So a fall after the start does not show that the service caused it. "
            "The table shows how far the two ways can differ.",
            id="text-naive",
        )  # fmt: skip
        show_table(table, id="tab-naive", caption="Before and after only (not evidence of effect), and our comparison")


def _comparison(release: Release, service: str) -> list[str]:
    protocol = release.protocol
    count = len(protocol.areas.treated)
    place = f"the {count} areas" if count > 3 else facts.treated_group(protocol)
    said = [f"Then we compared {place} that had {service} with {facts.comparators_text(protocol)} that did not."]
    if count <= 3:
        said = [
            f"Then we compared {place} with other places: {facts.comparators_text(protocol)}. They did not have "
            f"{service}."
        ]
    said.append(f"We looked at how things changed there. That hints at what may have happened in {place} without "
                f"{service}. "
                "The difference between the two is our answer.")  # fmt: skip
    if any(o.kind == "readmission" for o in protocol.outcomes):
        said.append("For going back to hospital, we compared people who were alike. "
                    "We took account of age, sex, ethnic group, illness and how poor their area is.")  # fmt: skip
    if protocol.dates.adoption and protocol.dates.anticipation_days:
        said.append(f"We left out the {protocol.dates.anticipation_days} days before the start. People may have "
                    "begun to "
                    "change things already.")  # fmt: skip
    return said


def naive_table(release: Release) -> pd.DataFrame:
    """Each planned outcome: what before and after alone would say, and what the comparison says."""
    service = service_short(release.protocol.study)
    out = []
    for outcome in release.protocol.outcomes:
        naive, planned = facts.naive_finding(release, outcome), facts.finding(release, outcome)
        if naive is None or planned is None:
            continue
        said = headline(naive, service=service).split(": ", 1)[-1].replace("we would have expected", "before")
        planned_words = headline(planned, service=service).replace("**", "")
        out.append(dict(zip(_NAIVE_COLUMNS, (
            starts_with_capital(outcome.plain), starts_with_capital(said), starts_with_capital(planned_words)
        ), strict=True)))  # fmt: skip
    return pd.DataFrame(out, columns=list(_NAIVE_COLUMNS))


def show_glossary(release: Release) -> None:
    """Words and what they mean."""
    words = glossary(release.protocol, service=service_short(release.protocol.study))
    lines = [f"[**{word}.**]{{#{word_anchor(word)}}} {meaning}" for word, meaning in words]
    show_text("\n\n".join(lines), id="text-glossary")


def show_questions(release: Release) -> None:
    """How to question the report."""
    lines = [
        "Who decided what to count? The plan lists it. Was anything left out that matters to you?",
        "Does a number not fit what you have lived? Say so. Say which picture or table.",
        "Is a word or a picture unclear, wrong or upsetting? Say which one.",
        "Who is missing? Would the answer be different for them?",
        "Could something else have made the change? Tell us what else happened at that time.",
    ]
    ending = ("You can write your comment in the web page, in the Word file, or in the table that comes with them. "
              "Nothing is sent by itself: you save a file and give it to the people who gave you this report. "
              "You need not give your name. You have a right to an answer.\n\n"
              "Every picture and table has a number. Give it, and the plan's number: "
              f"{release.protocol.digest[:12]}.")  # fmt: skip
    show_text("\n".join(f"- {line}" for line in lines) + f"\n\n{ending}", id="text-questions")
