"""The peer report reads plainly in every world: sentences, reading age, unwanted words, links and the first page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import textstat

from evalkit.disclose import load_release
from evalkit.report import display, peer_involvement
from evalkit.report.document import MARKDOWN, run_pandoc
from evalkit.review.record import Comment, Involvement, Review
from tests.peer_notebook import run_peer_notebook
from tests.plain_language import (
    MOST_AGE,
    MOST_WORDS,
    find_banned,
    measure_plain_language,
    read_banned_words,
    read_report_text,
    split_sentences,
)
from tests.report_factory import ROOT, World, make_release

WORLDS: tuple[World, ...] = ("benefit", "none", "harm", "thin")
QUOTED = "I felt safe there."
COMMENTS = (
    Comment("c0001", "peer", "text-summary-1", "unclear", QUOTED, reader="peer", name="Sam", consent_to_quote=True,
            status="changed", reply="We wrote it again", decided_by="the writer", changed=("text-summary-1",),
            route="html"),
    Comment("c0002", "peer", "fig-flow", "upsetting", "Secret words.", reader="carer", name="Kim", status="declined",
            reply="We thought about it", reason="It keeps people safe", decided_by="one writer",
            second="another", route="docx"),
    Comment("c0003", "peer", "tab-claims", "question", "What of sleep?", reader="peer", status="open"),
    Comment("c0004", "peer", "tab-claims", "wrong", "An example.", reader="example", status="accepted", reply="Yes"),
    Comment("c0005", "academic", "tab-x", "wrong", "Elsewhere.", reader="academic", status="accepted"),
)  # fmt: skip
REVIEW = Review(COMMENTS, Involvement(people=3, four_pi={"purpose": "To ask what matters"}, credits=("Sam, a peer",)))


@pytest.fixture(scope="module")
def cells() -> dict[str, list[dict[str, Any]]]:
    """The peer notebook on four worlds with a review record, and on the committed release without one."""
    with pytest.MonkeyPatch.context() as patch:
        found = {world: run_peer_notebook(make_release(world), REVIEW, patch, pictures=False) for world in WORLDS}
        ipsa = load_release(ROOT / "reports" / "ipsa")
        return found | {"ipsa": run_peer_notebook(ipsa, Review(), patch, pictures=False)}


def shown(cells: list[dict[str, Any]], name: str) -> str:
    outputs = [o for c in cells for o in c["outputs"] if o["metadata"]["evalkit"]["id"] == name]
    return outputs[0]["data"]["text/plain"] if outputs else ""


# ---- the measure itself ----------------------------------------------------------------------------


def test_what_is_measured_is_what_the_library_says() -> None:
    text = "People left the hospital. Some of them went back within three months of leaving."
    found = measure_plain_language(text)
    assert (found.words, found.sentences, found.mean_sentence) == (14, 2, 7.0)
    assert found.reading_age == pytest.approx(textstat.flesch_kincaid_grade(text) + 5)


def test_hard_words_and_long_sentences_are_seen() -> None:
    hard = measure_plain_language("Counterfactual heterogeneity necessitates methodological sophistication.")
    assert hard.reading_age > MOST_AGE
    assert not hard.plain
    long = measure_plain_language(f"We went {'and went ' * 20}home.")
    assert long.mean_sentence > MOST_WORDS
    assert len(long.long) == 1


def test_a_line_ends_a_sentence_and_a_decimal_point_does_not() -> None:
    assert split_sentences("It fell by 1.5 days. That is good.") == ["It fell by 1.5 days.", "That is good."]
    assert measure_plain_language("- one thing here\n- one thing there").sentences == 2
    assert measure_plain_language("It fell by 1.5 days for each of us.").sentences == 1


def test_unwanted_words_are_found_whole_and_in_any_case() -> None:
    assert [w for w, _ in find_banned(["A Patient came.", "in-patient care", "impatient", "p-value 0.1"])] == [
        "patient", "in-patient", "p-value",
    ]  # fmt: skip
    assert measure_plain_language("> a reader wrote patient").banned == ()
    assert all(read_banned_words().values()), "every unwanted word has something to say instead"


# ---- the whole report ------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [*WORLDS, "ipsa"])
def test_the_whole_report_reads_plainly(cells, world) -> None:
    text = read_report_text(cells[world])
    for part in (text.whole, text.prose, text.cells):
        found = measure_plain_language(part)
        assert found.mean_sentence <= MOST_WORDS, found.describe()
        assert found.reading_age <= MOST_AGE, found.describe()
        assert not found.long, found.long
    if world != "ipsa":  # what was released under an earlier plan keeps that plan's words until it is made again
        assert measure_plain_language(text.whole).banned == ()
    alt = measure_plain_language(text.alt)
    assert alt.banned == ()
    assert alt.mean_sentence <= MOST_WORDS, alt.describe()
    assert not re.search(r"\bnan\b|\binf\b|None", text.whole + text.alt)


@pytest.mark.parametrize("world", [*WORLDS, "ipsa"])
def test_every_link_leads_somewhere(cells, world) -> None:
    parts = []
    for cell in cells[world]:
        parts.append(cell["source"] if cell["cell_type"] == "markdown" else "")
        parts += [f"::: {{#{o['metadata']['evalkit']['id']}}}\n{o['data'].get('text/markdown', '')}\n:::"
                  for o in cell["outputs"]]  # fmt: skip
    markdown = "\n\n".join(parts)
    html = run_pandoc(markdown, "html", MARKDOWN)
    wanted = set(re.findall(r'href="#([^"]+)"', html))
    assert len(wanted) >= 5
    assert wanted <= set(re.findall(r'id="([^"]+)"', html))


def test_a_note_stands_before_each_hard_part_and_leads_past_it(cells) -> None:
    order = [o["metadata"]["evalkit"]["id"] for c in cells["ipsa"] for o in c["outputs"]]
    for note, part in (("text-note-bad-news", "text-bad-news"), ("text-note-places", "text-places"),
                       ("text-note-risk", "text-risk-what"), ("text-content-note", "text-summary")):  # fmt: skip
        assert order.index(note) == order.index(part) - 1
    headings = [c["source"] for c in cells["ipsa"] if c["cell_type"] == "markdown"]
    assert headings.index("## Bad news") < headings.index("## Money")


# ---- the first page --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "worse", "better"),
    [
        ("benefit", "nothing that we can be sure of", "it is likely for 6 things"),
        ("harm", "it is likely for 6 things", "nothing that we can be sure of"),
        ("none", "nothing that we can be sure of", "nothing that we can be sure of"),
        ("thin", "nothing that we can be sure of", "nothing that we can be sure of"),
    ],
)
def test_the_first_page_says_which_way_it_went(cells, world, worse, better) -> None:
    first = shown(cells[world], "text-summary")
    assert f"**For the worse:** {worse}" in first
    assert f"**For the better:** {better}" in first
    assert ("**We cannot tell**" in first) is (world in ("none", "thin"))
    for harm in ("**Deaths:**", "held under the Mental Health Act", "harming oneself"):
        assert harm in first
    table = shown(cells[world], "tab-summary")
    assert ("for the worse" in table) is (world == "harm")
    assert ("for the better" in table) is (world == "benefit")
    assert "Deaths after a stay in hospital" in table
    assert "3 people with lived experience took part" in shown(cells[world], "text-summary-sure")


def test_the_table_says_what_the_sentences_say(cells) -> None:
    text = shown(cells["harm"], "text-readmission-30d")
    seen = int(re.search(r"about (\d+) went back", text)[1])
    without = int(re.search(r"about (\d+) out of 100", text)[1])
    low, high = map(int, re.search(r"as few as (\d+) or as many as (\d+)", text).groups())
    row = next(r for r in shown(cells["harm"], "tab-summary").splitlines() if "within 1 month" in r)
    assert f"{seen - without} more in 100 people ({seen - high} to {seen - low} more)" in row


def test_without_results_the_first_page_says_so(monkeypatch) -> None:
    bare = make_release("benefit", drop=("effects", "readmission", "description", "trend"))
    found = run_peer_notebook(bare, Review(), monkeypatch, pictures=False)
    assert "Nothing was planned that these records can answer" in shown(found, "text-summary")
    assert "We looked at nothing" in shown(found, "text-summary-sure")
    assert "Nobody wrote down if people with lived experience took part" in shown(found, "text-summary-sure")
    assert measure_plain_language(read_report_text(found).whole).plain


# ---- who took part, and what came of it ----------------------------------------------------------------


def test_words_are_quoted_only_where_their_writer_agreed(cells) -> None:
    assert f"> {QUOTED}" in shown(cells["none"], "text-said-c0001")
    assert "Sam" in shown(cells["none"], "text-said-c0001")
    hidden = shown(cells["none"], "text-said-c0002")
    assert "The words are not shown" in hidden
    assert "This is upsetting" in hidden
    whole = json.dumps([o["data"] for c in cells["none"] for o in c["outputs"]])
    assert "Secret words" not in whole
    assert "Kim" not in whole
    assert "Elsewhere." not in whole  # the academic report answers its own


def test_every_comment_stands_with_its_answer(cells) -> None:
    assert "We changed the report. We wrote it again." in shown(cells["none"], "text-said-c0001")
    declined = shown(cells["none"], "text-said-c0002")
    assert "Why not: It keeps people safe." in declined
    assert "Two people decided this: one writer and another." in declined
    assert "Not answered yet" in shown(cells["none"], "text-said-c0003")
    assert "asked after the results were seen" in shown(cells["none"], "text-said-c0003")


def test_an_example_is_shown_as_one_and_counts_nowhere(cells) -> None:
    assert "Example by the makers" in shown(cells["none"], "text-said-c0004")
    assert "We have had 3 comments on this report." in shown(cells["none"], "text-said-and-done")
    table = peer_involvement.gripp2_table(REVIEW)
    said = " ".join(table["What we can say"])
    assert "4 comments came in" in said  # with the one on the academic report
    assert "We agreed with 1, changed the report after 1, and declined 1." in said
    assert "Not answered: 1." in said
    only = Review((COMMENTS[3],))
    assert "No comment of a reader is in the record." in " ".join(
        peer_involvement.gripp2_table(only)["What we can say"]
    )


def test_a_blank_in_the_record_is_said_to_be_one() -> None:
    four, five = peer_involvement.four_pi_table(REVIEW), peer_involvement.gripp2_table(Review())
    assert four["What we can say"].tolist() == ["Not recorded.", "To ask what matters.", *["Not recorded."] * 3]
    assert len(five) == 5
    assert all(cell.startswith("Not recorded") for cell in five["What we can say"])


def test_contacts_are_those_of_the_record(monkeypatch, cells) -> None:
    assert "No contacts are recorded" in shown(cells["none"], "text-support")
    review = Review(involvement=Involvement(support=("A local line: every day",)))
    said: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, **_: said.append(data["text/plain"]))
    peer_involvement.show_support(load_release(ROOT / "reports" / "ipsa"), review)
    assert "A local line: every day." in said[0]
