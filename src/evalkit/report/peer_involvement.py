"""Who took part in the report and what came of it: 4Pi, GRIPP2 (short form), comments and answers, support.

All of it is read from the review record. What nobody wrote down is said to be "not recorded", never filled in.
Comments of readers marked "example" are the makers' own: they are shown as such and counted nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report.display import show_table, show_text
from evalkit.report.phrases import full_stop, listed, service_short
from evalkit.review.plain import plain_comment, plain_markdown
from evalkit.review.record import KINDS, STATUSES, Comment, Gripp2, Kind, Principle, Review, Status

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_ENDS = (".", "?", "!", "…")
NOT_RECORDED = "Not recorded"
_FOUR_PI: dict[Principle, tuple[str, str]] = {
    "principles": ("Principles", "What did we agree on before we began, such as respect and being paid?"),
    "purpose": ("Purpose", "Why were people asked to take part? Was that clear to all?"),
    "presence": ("Presence", "Who was there, how many, and at which steps?"),
    "process": ("Process", "How did it work? Was help, time and pay given?"),
    "impact": ("Impact", "What was done differently because of it?"),
}
_GRIPP2: dict[Gripp2, tuple[str, str]] = {
    "aim": ("1. Aim", "Why people were asked to take part"),
    "methods": ("2. Methods", "How people took part"),
    "results": ("3. Results", "What came of it, good and bad"),
    "discussion": ("4. Discussion", "How far it changed the study, and why"),
    "reflections": ("5. Looking back", "What went well, what did not, and what to do next time"),
}
_READERS = {
    "peer": "somebody who has used services", "carer": "a carer", "staff": "a member of staff",
    "academic": "a researcher", "other": "a reader",
}  # fmt: skip
_EXAMPLE = "**Example by the makers of this report.** No reader wrote this. It shows how it works and counts nowhere."


# ---- who took part ---------------------------------------------------------------------------------


def show_involvement(release: Release, review: Review) -> None:
    """The 4Pi panel, GRIPP2 in its short form with counts from the record, and credits."""
    show_text(_lead(release, review), id="text-involvement")
    show_table(four_pi_table(review), id="tab-four-pi", caption="4Pi: how people took part",
               note="4Pi is a list of five things to ask of any work with people who use services.")  # fmt: skip
    show_table(gripp2_table(review), id="tab-gripp2", caption="GRIPP2, short form: what came of it",
               note="GRIPP2 is a checklist that researchers use to say how the public took part.")  # fmt: skip
    show_text(_credits(review), id="text-credits")


def _lead(release: Release, review: Review) -> str:
    people = review.involvement.people
    who = {None: "**It is not recorded** if people who have used services took part in making this report.",
           0: "**Nobody** who has used services took part in making this report.",
           1: "**1 person** with lived experience took part in making this report."}.get(
        people, f"**{people} people** with lived experience took part in making this report.")  # fmt: skip
    parts = [who, "What stands below is from the record. Nobody filled in what was not written down."]
    if release.protocol.study.synthetic:
        parts.append("The records are simulated. So there is no real person for whom this service was.")
    return " ".join(parts)


def four_pi_table(review: Review) -> pd.DataFrame:
    """Five rows: what is asked, and what the record says."""
    told = review.involvement.four_pi
    rows = [(name, asks, _said(told.get(key, ""))) for key, (name, asks) in _FOUR_PI.items()]
    return pd.DataFrame(rows, columns=["4Pi", "What it asks", "What we can say"])


def gripp2_table(review: Review) -> pd.DataFrame:
    """Five rows: the record's own words, and for results and discussion what the comments add up to."""
    told, counts = review.involvement.gripp2, review.counted
    extra: dict[Gripp2, str] = {"methods": _how_it_came(counts), "results": _what_came(counts),
                                "discussion": _what_changed(counts)}  # fmt: skip
    rows = []
    for key, (name, asks) in _GRIPP2.items():
        words = told.get(key, "").strip()
        said = [_said(words) if words or key not in extra else f"{NOT_RECORDED} in words.", extra.get(key, "")]
        rows.append((name, asks, " ".join(s for s in said if s)))
    return pd.DataFrame(rows, columns=["GRIPP2", "What it asks", "What we can say"])


def _said(words: str) -> str:
    return full_stop(words) if words.strip() else f"{NOT_RECORDED}."


def count_statuses(comments: Sequence[Comment]) -> dict[Status, int]:
    return {status: sum(c.status == status for c in comments) for status in STATUSES}


def count_kinds(comments: Sequence[Comment]) -> dict[Kind, int]:
    return {kind: sum(c.kind == kind for c in comments) for kind in KINDS}


def _how_it_came(comments: Sequence[Comment]) -> str:
    if not comments:
        return "No comment of a reader is in the record."
    routes = {"html": "in the web page", "docx": "in the Word file", "csv": "in a table"}
    said = [f"{n} {words}" for route, words in routes.items() if (n := sum(c.route == route for c in comments))]
    return f"{_comments(len(comments))} came in: {listed(said)}."


def _what_came(comments: Sequence[Comment]) -> str:
    if not comments:
        return ""
    kinds = [f"“{KINDS[kind]}” {n}" for kind, n in count_kinds(comments).items() if n]
    return f"By kind: {', '.join(kinds)}."


def _what_changed(comments: Sequence[Comment]) -> str:
    if not comments:
        return "No comment has led to a change."
    said = count_statuses(comments)
    late = sum(c.kind == "question" and c.after_results for c in comments)
    text = (f"We agreed with {said['accepted']}, changed the report after {said['changed']}, and declined "
            f"{said['declined']}. New work is needed for {said['needs_analysis']}. Not answered: "
            f"{said['open']}.")  # fmt: skip
    return f"{text} New questions asked after the results were seen: {late}." if late else text


def _comments(count: int) -> str:
    return "1 comment" if count == 1 else f"{count} comments"


def _credits(review: Review) -> str:
    credits = review.involvement.credits
    if not credits:
        return ("### Who wrote it\n\nNo names are recorded. Some people do not want to be named. So we do not know if "
                "somebody is missing here.")  # fmt: skip
    return f"### Who wrote it\n\nEach person chose how to be named, and what to say of themselves.\n\n{_lines(credits)}"


def _lines(entries: Sequence[str]) -> str:
    """A list of what somebody typed into the record: one line each, as plain words."""
    return "\n".join(f"- {full_stop(plain_markdown(' '.join(entry.split())))}" for entry in entries)


# ---- you said, we did --------------------------------------------------------------------------------


def show_said_and_done(release: Release, review: Review) -> None:
    """Every comment on the peer report with its answer, which version this is, and what changed since the last."""
    comments = [c for c in review.comments if c.report == "peer"]
    real = [c for c in comments if c in review.counted]
    parts = [f"You can comment on every part of this report on {service_short(release.protocol.study)}. Each comment "
             "gets an answer, and both stand here.", _version(review), *_tally(real)]  # fmt: skip
    held = sum(entry.report == "peer" for entry in review.held)
    parts += [f"{held} more came in with what looks like personal details and wait for an answer. Their words are not "
              "stored."] * bool(held)  # fmt: skip
    parts += [f"Taken out of the record, with all that was said there: {listed(review.taken_out)}."
              ] * bool(review.taken_out)  # fmt: skip
    show_text("\n\n".join(parts), id="text-said-and-done")
    for comment in [*real, *(c for c in comments if c not in real)]:
        show_text(_exchange(comment), id=f"text-said-{comment.id}")


def _version(review: Review) -> str:
    if review.number == 1:
        return "This is version 1. No version came before it."
    changed = sorted({block for c in review.counted for block in c.changed if c.report == "peer"})
    last = f"This is version {review.number}. Version {review.number - 1} came before it."
    if not changed:
        return f"{last} No comment has led to a change so far. What is new elsewhere in the report is marked."
    return f"{last} Comments changed it in {_places(len(changed))}. What is new elsewhere in the report is marked."


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"


def _tally(comments: Sequence[Comment]) -> list[str]:
    if not comments:
        return ["No reader has sent a comment yet. When somebody does, it stands here with our answer."]
    said = count_statuses(comments)
    lines = [f"- {STATUSES[status]}: {n}." for status, n in said.items() if n]
    return [f"We have had {_comments(len(comments))} on this report.", "\n".join(lines)]


def _exchange(comment: Comment) -> str:
    """One comment and its answer. Words are quoted only where their writer said yes, and never as markup."""
    comment = plain_comment(comment)
    title = f"### Comment {comment.id}"
    parts = [title, _EXAMPLE] if comment.reader == "example" else [title]
    parts.append(_you_said(comment))
    if comment.consent_to_quote or comment.reader == "example":
        parts.append(_quoted(comment.text))
    parts.append(f"**We did.** {STATUSES[comment.status]}. {_answer(comment)}".strip())
    return "\n\n".join(parts)


def _quoted(text: str) -> str:
    """A reader's words as a quote: their lines stay lines."""
    lines = text.strip().splitlines()
    after = [*lines[1:], ""]
    return "\n".join(f"> {line}" + "\\" * bool(line and more) for line, more in zip(lines, after, strict=True))


def _you_said(comment: Comment) -> str:
    who = _READERS.get(comment.reader, "a reader")
    if comment.reader == "example":
        who = "an example"
    elif comment.name and comment.consent_to_quote:
        who = f"{comment.name}, {who}"
    text = f"**You said** ({who}): {full_stop(KINDS[comment.kind])}"
    if comment.quote:
        quote = comment.quote.strip()
        text += f" It is about the part that says: “{quote}”{'' if quote.endswith(_ENDS) else '.'}"
    if not comment.consent_to_quote and comment.reader != "example":
        text += " The words are not shown, because the writer did not agree to be quoted."
    return text


def _answer(comment: Comment) -> str:
    said = []
    if comment.reply:
        said.append(full_stop(comment.reply))
    if comment.status == "declined":
        said.append(f"Why not: {_said(comment.reason)}")
        said.append(f"Two people decided this: {comment.decided_by or 'not recorded'} and "
                    f"{comment.second or 'not recorded'}.")  # fmt: skip
    elif comment.decided_by:
        said.append(f"Decided by: {full_stop(comment.decided_by)}")
    if comment.changed:
        said.append(f"We changed {_places(len(set(comment.changed)))}. What still stands in the report is marked.")
    if comment.analysis:
        said.append(f"New work: {full_stop(comment.analysis)}")
    if comment.kind == "question" and comment.after_results:
        said.append("It was asked after the results were seen.")
    return " ".join(said)


# ---- support -----------------------------------------------------------------------------------------


def show_support(release: Release, review: Review) -> None:
    """Whom a reader can talk to: the contacts of the record, which the people who make the report must give."""
    contacts = review.involvement.support
    if contacts:
        text = "Reading this can be hard. You can stop at any time. Here is whom you can talk to:"
        text += f"\n\n{_lines(contacts)}"
    else:
        text = ("Reading this can be hard. You can stop at any time. **No contacts are recorded** for this report. "
                "Those who give it to you should add some. In the United Kingdom, Samaritans answer day and night on "
                "116 123. If somebody is in danger, call 999.")  # fmt: skip
    if release.protocol.study.synthetic:
        text += "\n\nThis is a trial with simulated records. Check each contact before you rely on it."
    show_text(text, id="text-support")
