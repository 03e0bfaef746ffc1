"""Questions that an output checker asks, with the answers that code can give, and the page to read first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.disclose import Release
from evalkit.review.record import Review

CheckedBy = Literal["evalkit", "nobody yet"]
_RULES = {
    "primary": "it rests on too few people or events",
    "linked": "it is worked out from a number that is withheld",
    "complementary": "another number could be worked out from it",
    "differencing": "with an earlier release it would tell what changed",
}
_CURVES = ("curve", "calibration", "cumulative", "survival")


@dataclass(frozen=True)
class Answer:
    """A question, the answer as far as code can give it, and whether a person has still to look."""

    question: str
    text: str
    checked_by: CheckedBy = "evalkit"


def answer_questions(released: Release, *, files: Sequence[str]) -> tuple[Answer, ...]:
    """The questions of an output checker about a release and the files rendered from it, in the order to be asked."""
    return (
        _profile(released),
        _smallest(released),
        _withheld(released),
        _dominance(released),
        _models(released),
        _curves(released),
        _extremes(),
        _pictures(files),
        _earlier(released),
        _traces(),
        *_open_questions(),
    )


def render_read_first(released: Release, answers: Sequence[Answer], files: Sequence[str], review: Review) -> str:
    """The page to read first, in Markdown."""
    manifest, study = released.manifest, released.protocol.study
    kind = "**The data are synthetic: nobody in them exists.**\n\n" if study.synthetic else ""
    listed = "\n".join(f"- `files/{name}`: {_what(name)}" for name in files)
    asked = "\n\n".join(f"### {a.question}\n\n{a.text}{_who(a)}" for a in answers)
    return (
        f"# {study.title}: for the output checker\n\n{kind}"
        f"These files are asked to leave the secure environment. They were made from released numbers alone "
        f"(protocol {manifest['protocol_digest'][:12]}, data {manifest['data_digest'][:12]}, evalkit "
        f"{manifest['evalkit_version']}). `checksums.txt` holds the SHA-256 of each; `withheld.csv` every number that "
        "is "
        f"withheld, and why. The working files stayed behind.\n\n"
        f"Comments by readers: {len(review.comments)}, all answered.\n\n"
        f"## Files\n\n{listed}\n\n## Questions and answers\n\n{asked}\n"
    )


# ---- answers -------------------------------------------------------------------------------------


def _profile(released: Release) -> Answer:
    profile = released.manifest["profile"]
    zeros = "withheld like them" if profile["zeros"] == "suppress" else "shown"
    return Answer(
        "Which rules were applied?",
        f"The profile `{profile['name']}`: counts below {profile['threshold']} are withheld, all others are shown to "
        "the "
        f"nearest {profile['base']}; a count of nought is {zeros}. Source: {profile['source']}",
    )


def _smallest(released: Release) -> Answer:
    frame = released.results.frame
    shown = frame[(frame["kind"] == "count") & (frame["status"] == "shown")]["value"]
    counts = np.concatenate([shown, frame["n_people"].dropna(), frame["n_events"].dropna()])
    counts = counts[np.isfinite(counts)]
    least, base = released.manifest["profile"]["threshold"], released.manifest["profile"]["base"]
    small, off = int(((counts < least) & (counts > 0)).sum()), int((counts % base != 0).sum())
    told = f"The smallest is shown as {counts[counts > 0].min():g}." if (counts > 0).any() else "No count is shown."
    return Answer(
        "What is the smallest count of people or events?",
        f"{told} Of {len(counts):,} counts shown, {small} are below {least} and {off} are no multiple of {base}. The "
        f"unweighted number of people or events stands beside each number in `results.parquet`, rounded.",
    )


def _withheld(released: Release) -> Answer:
    counts = released.manifest["counts"]
    rules = "\n".join(f"- {name}: {counts.get(name, 0)}, because {why}" for name, why in _RULES.items())
    return Answer(
        "How many numbers are withheld, and by which rule?",
        f"{counts['suppressed']} of {counts['numbers']}.\n\n{rules}\n\nWhether a withheld count could be worked out "
        "from "
        f"those shown was tested by integer programming over everything that adds up.",
    )


def _dominance(released: Release) -> Answer:
    frame = released.results.frame
    money = frame[frame["unit"].str.startswith("GBP") & (frame["status"] == "shown") & frame["n_people"].notna()]
    if money.empty:
        return Answer("Does one person make up most of a sum of money?", "No money of people is told.")
    tables = ", ".join(f"`{name}`" for name in sorted(set(money["table"])))
    return Answer(
        "Does one person make up most of a sum of money?",
        f"Tested on people's rows before the gate: fewer than 10 people with any cost, one person with more than half, "
        "the "
        f"two largest with 90% or more, or all but the two largest less than 10% of the largest. What failed is "
        "withheld "
        f"wherever it stands. Tables: {tables}. The gate sees no rows and cannot test it again.",
    )


def _models(released: Release) -> Answer:
    frame = released.results.frame
    fitted = frame[(frame["kind"] == "estimate") & (frame["status"] == "shown")]
    people, events = fitted["n_people"].dropna(), fitted["n_events"].dropna()
    least = f"The fewest people behind one are {people.min():g}" if len(people) else "Numbers of people are not told"
    least += f", the fewest events {events.min():g}." if len(events) else "."
    freedom = frame[frame["column"].str.contains("freedom") & (frame["status"] == "shown")]
    told = f" The fewest residual degrees of freedom told are {freedom['value'].min():g}." if len(freedom) else ""
    return Answer(
        "What of model estimates and their residual degrees of freedom?",
        f"{len(fitted)} estimates are shown, at no more than four digits. {least}{told} Residuals, weights, fitted "
        "values "
        f"and covariances are not released. A model of an area's periods has as many degrees of freedom as it has "
        "periods "
        f"less parameters: the unit is the area, and counts behind a period are guarded as counts.",
    )


def _curves(released: Release) -> Answer:
    frame = released.results.frame
    tables = sorted({t for t in frame["table"] if any(word in t for word in _CURVES)})
    return Answer(
        "What of survival curves and other curves?",
        f"Steps are whole multiples of the rounding base over the rounded number at the start; one that rests on too "
        ""
        f"few, or leaves too few, is withheld. Smooth curves end at the mean of the outer tenths. Tables: "
        f"{', '.join(f'`{t}`' for t in tables) or 'none'}.",
    )


def _extremes() -> Answer:
    return Answer(
        "Are there smallest or largest values, or rows of people?",
        "None: the gate refuses a minimum or maximum, and report code can read a release and nothing else.",
    )


def _pictures(files: Sequence[str]) -> Answer:
    shown = [name for name in files if re.search(r"\.(html|pdf|docx|png|svg)$", name)]
    return Answer(
        "What is in the pictures?",
        f"They are drawn from released rows. The text in them, alternative texts, text of SVG and chunks of PNG were "
        "read "
        f"in {len(shown)} files. Pixels were not: code cannot read what a picture looks like.",
        "nobody yet",
    )


def _earlier(released: Release) -> Answer:
    question = "Has anything of this been released before?"
    earlier = released.manifest.get("earlier")
    if earlier is None:
        return Answer(question, "No earlier release was named, so that none was compared. If there is one, refuse this "
                      "bundle and ask for one made with --earlier.", "nobody yet")  # fmt: skip
    held = released.manifest["counts"].get("differencing", 0)
    return Answer(
        question,
        f"Yes: the release with manifest {earlier['manifest'][:12]}, made from {earlier['data']} data. Of both "
        "together, "
        f"{len(earlier['kept'])} numbers are shown as they were, because what is behind them moved by too few to "
        ""
        f"tell, and {held} are withheld. Releases before that one, and those of other teams, were not compared.",
    )


def _traces() -> Answer:
    return Answer(
        "Are there unreleased counts, paths, names of users or times in the files?",
        "None was found. Every file was decoded (text, attributes, embedded data, properties, metadata) and searched "
        "for every exact count of three digits or more that neither the release nor the reports' fixed words print.",
    )


def _open_questions() -> tuple[Answer, ...]:
    return (
        Answer("Do the words describe anybody?", "Texts come from notebooks, the protocol and readers' comments. They "
               "were searched for numbers of people and for personal data, not understood.", "nobody yet"),
        Answer("Is the model file safe?", "`workings/risk_models` is not in this bundle. It needs a check of its own "
               "before it leaves.", "nobody yet"),
        Answer("What else is not checked?", "Counts of one and two digits in the files' texts beyond those of released "
               "rows; what somebody could work out who has other tables of the same people.", "nobody yet"),
    )  # fmt: skip


def _who(answer: Answer) -> str:
    return "" if answer.checked_by == "evalkit" else "\n\n**For you to check.**"


def _what(name: str) -> str:
    known = {
        "manifest.json": "what the release was made from, and what is withheld",
        "results.parquet": "every released number",
        "model_card.md": "the card of the risk model",
        "blocks.json": "ids of the reports' parts",
        "peer_explore.html": "the page on which readers choose what to see",
        "peer.txt": "the peer report as plain text",
    }
    if name in known:
        return known[name]
    report = "peer report" if name.startswith("peer") else "academic report" if name.startswith("academic") else "file"
    if name.endswith("_comments.csv"):
        return f"a form for comments on the {report}"
    variant = " in large print" if "large_print" in name else " in Easy Read (draft)" if "easy_read" in name else ""
    return f"the {report}{variant}" if report != "file" else "another file"
