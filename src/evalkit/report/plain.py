"""Plain wording for what the analysis writes to referees: reasons, checks, columns of tables, and a glossary."""

from __future__ import annotations

import re

from evalkit.core.protocol import Protocol

# The first pattern found in a reason decides; the reason itself stands in full in the academic report.
_REASONS = (
    ("before-and-after comparison", "There is no time before the start, or no other place, to compare with."),
    ("too few for an honest interval", "There are too few areas to compare with."),
    ("costs need exposure", "There is no other place, or no time before, to compare the cost with."),
    ("too few people on one side", "There are too few people to compare."),
    ("too few readmissions|no readmission in the cell", "Too few people went back to hospital to compare."),
    ("too few events", "It happened too seldom to work it out."),
    ("had no event before|no event before", "It did not happen before the start, so nothing can be compared."),
    ("no price|unit_costs", "Some of the services used have no price."),
    ("counts for both", "There are no counts for both kinds of area."),
    ("there is no table|needs the table|there are neither", "The records it needs were not there."),
    ("asks for no", "It was not asked for."),
    ("too few discharges|none was followed", "Too few people were followed for long enough."),
    ("already differed|nothing was spent", "There was nothing before the start to compare with."),
    ("all but tell", "The people in the two places were too different to compare."),
    ("too few people", "There are too few people to compare."),
    ("nobody followed so long", "Too few people were followed for long enough."),
    ("nobody is in", "There was nobody to compare."),
    ("[Hh]eld back", "It is held back, so that nobody can be picked out."),
    ("[Ff]ewer than", "Too few people are behind it."),
)
_CHECKS = {
    "area_shocks": "Few areas are compared, so something else that happened in one could explain it.",
    "balance": "The groups that we compared were not alike enough.",
    "overlap": "Few people in the two groups could be fairly compared.",
    "comparison_areas": "There were too few other areas to compare with.",
    "parallel_trends": "Even before the start, the areas were not changing in the same way.",
    "interval": "There are too few areas, or too few events, to give a range of doubt.",
    "inside_bounds": "Our way of working it out gives answers that cannot be, so it does not fit well here.",
    "events_per_predictor": "Too few events stand behind it.",
}
_COLUMNS = {
    "people.imd_decile": "how poor the area is that a person lives in",
    "people.dual_diagnosis": "whether a person also has a drug or alcohol problem",
    "people.forensic_history": "whether a person has been through the courts",
    "people.ethnic_group": "ethnic group",
    "people.primary_diagnosis": "diagnosis",
    "people.sex": "sex",
    "placements.weekly_cost_gbp": "the weekly price of a placement",
    "placements.provider": "who runs a placement",
    "placements.funder": "who pays for a placement",
    "assessments.score": "an answer, where staff did ask",
    "ward_stays.legal_status": "whether a stay was under the Mental Health Act",
    "ward_stays.admission_method": "how a person came to a ward",
    "ward_stays.out_of_area": "whether a ward was far from home",
}
_PREDICTORS = {
    "age_years": "how old a person is", "sex": "sex", "ethnic_group": "ethnic group",
    "imd_decile": "how poor the area is that a person lives in", "diagnosis": "diagnosis",
    "dual_diagnosis": "whether a person also has a drug or alcohol problem",
    "forensic_history": "whether a person was held by order of a court before",
    "prior_admissions": "how often a person was in hospital in the years before",
    "log_prior_ward_days": "how long a person was in hospital in the years before",
    "log_stay_days": "how long this stay was", "from_rehab": "whether the stay was on a rehabilitation ward",
    "detained": "whether a person was held under the Mental Health Act in this stay",
    "left_against_advice": "whether a person left before the team agreed",
    "destination": "where a person went to live", "contacts_90d": "visits and calls before the stay",
    "missed_90d": "appointments that were missed before the stay",
    "dialog_mean": "how satisfied a person said they were",
}  # fmt: skip
# An empty cell here says something: still there, still alive, never started.
_EMPTY_BY_NATURE = (
    ".end", ".death_date", ".adoption_date", ".discharge_method", ".discharge_destination", ".ready_date",
)  # fmt: skip
_RESOURCES = {
    "wards": "Hospital wards", "ward_days": "Hospital wards", "placements": "Care homes and supported housing",
    "contacts": "Visits and appointments", "programme": "The service itself",
}  # fmt: skip
_TABLES = {
    "people": "who people are", "residence": "where people lived", "ward_stays": "stays on wards",
    "placements": "care homes and housing", "programme_episodes": "time with the service",
    "contacts": "visits and appointments", "assessments": "what people said in assessments",
    "activities": "work, learning and connections", "health_checks": "physical health checks",
    "unit_costs": "prices", "budgets": "budgets", "areas": "areas", "area_counts": "counts for each area",
    "hospital_spells": "stays in hospital",
}  # fmt: skip


def plain_reason(reason: str) -> str:
    """Why there is no number, for everybody."""
    for pattern, words in _REASONS:
        if re.search(pattern, reason):
            return words
    return "These records do not allow it."


def referee_reason(reason: str) -> str:
    """Why there is no number, for referees: the reason in full, without the name of the part that gave it."""
    text = re.sub(r"^(protocol|areas|readmission|costs|tables|risk model|discharges|periods): ", "", reason.strip())
    return text[:1].upper() + text[1:]


def plain_check(name: str, text: str) -> str:
    """What a failed check means, for everybody; a check that is not listed keeps its own sentence."""
    return _CHECKS.get(name, text)


def plain_column(row: str) -> str:
    """The name of a `table.column` in words."""
    return _COLUMNS.get(row, row.split(".")[-1].replace("_", " "))


def plain_predictor(key: str) -> str:
    """What a risk model looks at, in words."""
    return _PREDICTORS.get(key, key.replace("_", " "))


def empty_by_nature(row: str) -> bool:
    """Whether an empty cell of this `table.column` is an answer and not a gap."""
    return row.endswith(_EMPTY_BY_NATURE)


def plain_resource(row: str) -> str:
    return _RESOURCES.get(row, row.replace("_", " ").capitalize())


def word_anchor(word: str) -> str:
    """The anchor of a word in the glossary: `word-range-of-doubt`."""
    return f"word-{word.lower().replace(' ', '-')}"


def explained(text: str, *words: str) -> str:
    """Markdown in which the first mention of each glossary word leads to what it means."""
    for word in words:
        place = text.lower().find(word.lower())
        if place >= 0:
            said = text[place : place + len(word)]
            text = f"{text[:place]}[{said}](#{word_anchor(word)}){text[place + len(word) :]}"
    return text


def glossary(protocol: Protocol, *, service: str) -> list[tuple[str, str]]:
    """Words of the peer report and what they mean, in the order of the alphabet."""
    words = [
        ("Acute ward", "A ward where people stay for a short time when they are very unwell."),
        ("Before and after", "Comparing a place with its own past. It cannot tell what caused a change."),
        ("Care home", "A residential or nursing home with staff there all the time."),
        ("Comparison areas", f"Places without {service}. They hint at what would have happened anyway."),
        ("Estimate", "Our best answer, worked out from records. It is never exact."),
        ("Far from home", "A ward outside the area that answers for a person's care."),
        ("Likely", "The whole range of doubt is on one side of no change."),
        ("Not released", "Held back, so that nobody can be picked out."),
        ("Placement", "A home with support that somebody pays for."),
        ("Plan", "What we said we would do before we saw any result."),
        ("Range of doubt", "The answers that fit the records. The true one may lie anywhere in it."),
        ("Rehabilitation ward", "A ward where people stay long and prepare to live outside hospital."),
        ("Risk model", "A sum that guesses who may go back to hospital."),
        ("Strong evidence", "Even the end of the range nearest to no change is a clear change."),
        ("Supported living", "A home of one's own or shared, with staff who give support."),
        ("Suggests", "It points one way, but the comparison has a known weakness."),
    ]
    told = " ".join([o.plain for o in protocol.outcomes] + [c.text.lower() for c in protocol.claims])
    told += " supported living" if protocol.pathway else ""
    told += " risk model" if protocol.risk_model else ""
    special = {"Acute ward": "acute ward", "Care home": "care home", "Risk model": "risk model",
               "Supported living": "supported living", "Far from home": "far from home", "Placement": "placement",
               "Rehabilitation ward": "rehabilitation"}  # fmt: skip
    words = [(word, meaning) for word, meaning in words if special.get(word, "") in told]
    if protocol.study.synthetic:
        words.append(("Simulated", "Made up by a computer. No real person is in these records."))
    return sorted(words)
