"""The record on disk: what may stand in it, written by a command or by hand, and what is missing before a release."""

from __future__ import annotations

import json
import random
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import OutputError, ReviewError
from evalkit.report.blocks import plain_text
from evalkit.report.document import MARKDOWN
from evalkit.review.blocks import load_blocks
from evalkit.review.check import answer_faults
from evalkit.review.incoming import clean_text, text_faults
from evalkit.review.load import load_review
from evalkit.review.personal import find_personal
from evalkit.review.plain import plain_markdown
from evalkit.review.record import Comment, Held, Review
from evalkit.review.save import answer_comment, dump_comment, save_comments, save_version
from evalkit.review.status import review_status
from tests.review_factory import BLOCKS

REPOSITORY = Path(__file__).parents[2]
OPEN = Comment("c0001", "peer", "text-a-1", "wrong", "It is not so.", version=1, reader="peer", route="html")


def written(folder: Path, *comments: Comment) -> Path:
    save_comments(folder, comments, ())
    return folder


def by_hand(folder: Path, **lines: str) -> Path:
    """A record of one comment with these lines in place of its own, as somebody might type them."""
    path = written(folder, OPEN) / "comments" / "c0001.yaml"
    kept = [line for line in path.read_text().splitlines() if line.split(":")[0] not in lines]
    path.write_text("\n".join([*kept, *(f"{key}: {text}" for key, text in lines.items()), ""]))
    return folder


def faults_of(folder: Path) -> str:
    with pytest.raises(ReviewError) as error:
        load_review(folder)
    return str(error.value)


def test_a_folder_that_is_not_there_is_an_empty_record(tmp_path: Path) -> None:
    assert load_review(tmp_path / "none") == Review() == load_review("")
    assert load_review(tmp_path / "none").number == 1


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    full = replace(
        OPEN, text="Two\nlines: yes", quote="Q", name="Sam", consent_to_quote=True, status="changed", reply="We did.",
        decided_by="A", changed=("fig-a", "tab-a"), analysis="09", after_results=False,
    )  # fmt: skip
    assert load_review(written(tmp_path, full)).comments == (full,)
    assert "|" in (tmp_path / "comments" / "c0001.yaml").read_text()


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=60))
def test_any_words_come_back_as_they_were(words: str) -> None:
    import tempfile

    text = words.strip()
    if not text or find_personal(text) or clean_text(text) != text or text_faults("", "", text, limit=100):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "comments"
        path.mkdir()
        (path / "c0001.yaml").write_text(dump_comment(replace(OPEN, text=text, reply=text)), encoding="utf-8")
        (one,) = load_review(folder).comments
    assert (one.text, one.reply) == (text, text)


def test_an_answer_may_be_written_by_hand(tmp_path: Path) -> None:
    by_hand(tmp_path, status="accepted", reply="no", decided_by="2024-01-01", consent_to_quote="yes", version="01")
    (one,) = load_review(tmp_path).comments
    assert (one.reply, one.decided_by, one.consent_to_quote, one.version) == ("no", "2024-01-01", True, 1)
    assert one.answered


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({"status": "done"}, "status is unknown"),
        ({"kind": "rude"}, "kind is unknown"),
        ({"reader": "boss"}, "reader is unknown"),
        ({"report": "third"}, "report is unknown"),
        ({"route": "post"}, "route is unknown"),
        ({"statsu": "open"}, 'Did you mean "status"?'),
        ({"version": "new"}, "version is not a whole number"),
        ({"consent_to_quote": "maybe"}, "neither yes nor no"),
        ({"changed": "fig-a"}, "not a list of ids"),
        ({"reply": "[a, b]"}, "reply is not text"),
        ({"text": ""}, '"text" is missing'),
        ({"id": "c0009"}, "not that of its file name"),
        ({"text": "x" * 4_001}, "too long"),
        ({"status": "accepted"}, "there is no reply"),
        ({"status": "accepted", "reply": "Yes."}, "decided_by is empty"),
        ({"status": "declined", "reply": "No.", "decided_by": "A", "second": "B"}, "without a reason"),
        ({"status": "declined", "reply": "No.", "decided_by": "A", "reason": "So."}, "by one person alone"),
        (
            {"status": "declined", "reply": "No.", "decided_by": "Ann", "reason": "So.", "second": "ann"},
            "same name twice",
        ),
        ({"status": "changed", "reply": "Yes.", "decided_by": "A"}, "names no place"),
        ({"text": "Ring 07700 900123"}, "text holds what looks like personal data. Got telephone number"),
        ({"text": "Ring 07700 900123", "flags_accepted": "So."}, "telephone number"),
        ({"text": "Since 3 May 2016"}, "Got date"),
        ({"name": "Jane Smith"}, "name holds what looks like personal data"),
        ({"quote": "a@b.org"}, "quote holds what looks like personal data"),
        ({"status": "accepted", "decided_by": "A 943 476 5919", "reply": "Yes."}, "decided_by holds what looks"),
        ({"status": "accepted", "decided_by": "A", "reply": "3 people told us."}, "small number of people"),
        ({"reason": "She was born in 1984"}, "reason holds what looks"),
        ({"second": "SE5 8AZ"}, "second holds what looks"),
        ({"flags_accepted": "Ask a@b.org"}, "flags_accepted holds what looks"),
        ({"reply": '"a\\u202eb"'}, "invisible characters. Got U+202E"),
        ({"changed": "[The table on page 3]"}, "changed names what is no id. Got something that is not an id"),
    ],
)
def test_what_breaks_the_schema_is_refused(tmp_path: Path, lines: dict[str, str], told: str) -> None:
    assert told in faults_of(by_hand(tmp_path, **lines))


def test_a_date_or_name_that_somebody_accepted_may_stand(tmp_path: Path) -> None:
    by_hand(tmp_path, text="It began on 3 May 2016", flags_accepted="It is public.")
    assert load_review(tmp_path).comments[0].text == "It began on 3 May 2016"


def test_a_fault_never_repeats_a_line_of_words(tmp_path: Path) -> None:
    said = faults_of(by_hand(tmp_path, **{"My name is Jane": "x", "kind": "It was Jane who said so"}))
    assert "Jane" not in said
    assert "(not a name)" in said


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("credits:\n  - Ann, a@b.org\n", "credits holds what looks"),
        ("four_pi:\n  impact: Ring 07700 900123\n", '"impact" holds what looks'),
        ('gripp2:\n  aim: "a\\u202eb"\n', "invisible"),
        ('support:\n  - "a\\u0007b"\n', "control"),
    ],
)
def test_personal_data_and_hidden_signs_in_who_took_part(tmp_path: Path, lines: str, told: str) -> None:
    (tmp_path / "involvement.yaml").write_text(f"{lines}\n")
    assert told in faults_of(tmp_path)
    (tmp_path / "involvement.yaml").write_text("support:\n  - Crisis line, 020 7946 0958, help@example.org\n")
    assert load_review(tmp_path).involvement.support


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: &x 1\nb: *x\n", "alias"),
        ("text: !!python/object/apply:os.system ['true']\n", "tag"),
        ("id: c0001\nid: c0001\n", "twice"),
        ("status: open: no\n", "not YAML (line 1)"),
        ("just words\n", "holds no entries"),
        ("", "holds no entries"),
        ("[" * 1_200, "not YAML"),
        ("x: " + "y" * 300_000, "too large"),
        ("? [a]\n: b\n", "not YAML"),
    ],
)
def test_yaml_made_to_do_harm_is_refused(tmp_path: Path, content: str, told: str) -> None:
    written(tmp_path, OPEN)
    (tmp_path / "comments" / "c0001.yaml").write_text(content)
    assert told in faults_of(tmp_path)


def test_a_file_that_would_not_be_read_is_a_fault(tmp_path: Path) -> None:
    written(tmp_path, OPEN)
    for name in ("c0002.yml", "c0002.yaml.txt", "c2.yaml"):
        (tmp_path / "comments" / name).write_text("id: x")
        assert "a comment could be lost" in faults_of(tmp_path)
        (tmp_path / "comments" / name).unlink()
    for name in (".hidden", "c0001.yaml~"):
        (tmp_path / "comments" / name).write_text("x")
    assert len(load_review(tmp_path).comments) == 1


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    by_hand(tmp_path, status="done", kind="rude")
    (tmp_path / "involvement.yaml").write_text("for_pi: {}\npeople: many\ncredits: me\ngripp2: {aims: x}\n")
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "1.json").write_text("{}")
    message = faults_of(tmp_path)
    assert "(7 faults)" in message
    for word in ("done", "rude", "four_pi", "people is not", "credits is not a list", '"aim"', "1.json"):
        assert word in message


def test_involvement_is_read_and_empty_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "involvement.yaml").write_text(
        "four_pi:\n  presence: |\n    Two lines\n    of it.\npeople: 3\ncredits:\n  - Sam, peer\nsupport: []\n"
    )
    found = load_review(tmp_path).involvement
    assert found.four_pi == {"presence": "Two lines\nof it."}
    assert (found.people, found.credits, found.support, dict(found.gripp2)) == (3, ("Sam, peer",), (), {})
    (tmp_path / "involvement.yaml").write_text("people:\n")
    assert load_review(tmp_path).involvement.people is None


# ---- versions --------------------------------------------------------------------------------------


def test_versions_count_up_and_the_same_one_is_kept_once(tmp_path: Path) -> None:
    first = save_version(tmp_path, manifest_digest="m1", blocks=BLOCKS)
    assert (first.number, first.blocks["peer/fig-a"]) == (1, "0" * 16)
    content = (tmp_path / "versions" / "1.json").read_bytes()
    assert save_version(tmp_path, manifest_digest="m1", blocks=BLOCKS) == first
    assert save_version(tmp_path, manifest_digest="m2", blocks=BLOCKS).number == 2
    assert (tmp_path / "versions" / "1.json").read_bytes() == content
    assert [v.number for v in load_review(tmp_path).versions] == [1, 2]
    assert load_review(tmp_path).number == 3


def test_blocks_are_read_from_an_output_folder_or_refused(tmp_path: Path) -> None:
    for content in (None, "{", "[]", "{}", '{"other": {}}', '{"peer": {"a": 1}}'):
        if content is not None:
            (tmp_path / "blocks.json").write_text(content)
        with pytest.raises(ReviewError, match=r"blocks\.json"):
            load_blocks(tmp_path)
    (tmp_path / "blocks.json").write_text('{"peer": {"a": "1"}}')
    assert load_blocks(tmp_path) == {"peer": {"a": "1"}}


# ---- answers and status ----------------------------------------------------------------------------


def test_an_answer_is_written_into_the_comments_file(tmp_path: Path) -> None:
    written(tmp_path, OPEN, replace(OPEN, id="c0002"))
    other = (tmp_path / "comments" / "c0002.yaml").read_bytes()
    answer_comment(tmp_path, "c0001", status="needs_analysis", reply="We will look.", by="A")
    done = answer_comment(
        tmp_path, "c0001", status="changed", reply="Done.", by="A", changed=["peer/fig-a", "text-a"], blocks=BLOCKS
    )
    assert done.changed == ("fig-a", "text-a")
    assert load_review(tmp_path).comments[0] == done
    assert (tmp_path / "comments" / "c0002.yaml").read_bytes() == other
    with pytest.raises(ReviewError, match="has its answer already"):
        answer_comment(tmp_path, "c0001", status="accepted", reply="Again.", by="B")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": "accepted", "reply": ""}, "there is no reply"),
        ({"status": "declined", "reply": "No."}, "without a reason"),
        ({"status": "declined", "reply": "No.", "reason": "So.", "second": " A "}, "same name twice"),
        ({"status": "changed", "reply": "Yes."}, "names no place"),
        ({"status": "changed", "reply": "Yes.", "changed": ["fig-b"]}, 'Did you mean "fig-a"?'),
        ({"status": "changed", "reply": "Yes.", "changed": ["methods"]}, "not in the peer report"),
        ({"status": "accepted", "reply": "Ask a@b.org"}, "e-mail address"),
        ({"status": "open", "reply": "x"}, "another status"),
        ({"status": "accepted", "reply": "x" * 5_000}, "too long"),
    ],
)
def test_an_answer_that_lacks_something_is_refused(tmp_path: Path, answer: dict, told: str) -> None:
    before = (written(tmp_path, OPEN) / "comments" / "c0001.yaml").read_bytes()
    with pytest.raises(ReviewError) as error:
        answer_comment(tmp_path, "c0001", by="A", blocks=BLOCKS, **answer)
    assert told in str(error.value)
    assert (tmp_path / "comments" / "c0001.yaml").read_bytes() == before


def test_an_answer_to_nothing_and_to_a_closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, OPEN)
    with pytest.raises(ReviewError, match="c0001"):
        answer_comment(tmp_path, "c0002", status="accepted", reply="x", by="A")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space"):
        answer_comment(tmp_path, "c0001", status="accepted", reply="x", by="A")
    assert load_review(tmp_path).comments == (OPEN,)


def test_status_says_what_is_missing_and_hides_what_may_be_personal() -> None:
    answered = replace(OPEN, id="c0002", status="accepted", reply="Yes.", decided_by="A")
    accepted = replace(OPEN, id="c0003", text="It began on 1 April 2015.", flags_accepted="Public.")
    example = replace(answered, id="c0004", reader="example")
    held = Held("k" * 16, "peer", "fig-a", "csv", ("telephone number",))
    found = review_status(Review((OPEN, answered, accepted, example), held=(held,)))
    assert [(row.id, row.missing) for row in found.waiting] == [
        ("c0001", ("an answer",)), ("c0003", ("an answer",)), ("not stored", ("a look at the file: telephone number",)),
    ]  # fmt: skip
    assert found.rows[0].words == "It is not so."
    assert "April" not in found.rows[2].words
    assert found.counts == {"Not answered yet": 2, "We agree": 1}


def read_by_pandoc(text: str) -> list[dict]:
    import pypandoc

    return json.loads(pypandoc.convert_text(text, "json", MARKDOWN))["blocks"]


def kinds_of(node: object) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(kinds_of, node))
    return {node["t"]} | kinds_of(node.get("c", [])) if isinstance(node, dict) and "t" in node else set()


WORDS = ("Para", "Str", "Space", "SoftBreak", "Quoted", "SingleQuote", "DoubleQuote")


def test_a_readers_words_never_become_markup() -> None:
    said = (
        "<script>alert(1)</script>\n![x](/etc/passwd)\n[a](http://b.org) $x^2$ @cite *b* `c`\n# d\n1. e\n> f\n- g\n"
        "    h\n::: {#i}\n\\newpage | j\n(@) k\niv) l\n: m\n~ n\n===\n---\n+--+\n|a|\n&lt; ^o^ ~p~ [^q]"
    )
    blocks = read_by_pandoc(plain_markdown(said))
    assert kinds_of(blocks) <= set(WORDS)
    assert plain_text(blocks) == " ".join(said.split()).replace("--- +--+", "-\u2013 +\u2013+")


def test_no_mixture_of_signs_becomes_markup() -> None:
    chance = random.Random(7)
    signs = [*string.punctuation, *string.punctuation, " ", " ", "\n", "a", "b", "1", "iv", "  ", "http://x.org"]
    said = ["".join(chance.choices(signs, k=12)) + "." for _ in range(1_000)]
    blocks = read_by_pandoc("\n\n".join(f"So {plain_markdown(text)}\n\n{plain_markdown(text)}" for text in said))
    assert kinds_of(blocks) <= set(WORDS)
    assert {"Para"} <= kinds_of(read_by_pandoc("word")) < kinds_of(read_by_pandoc("\n\n".join(said)))


# ---- the record of the default study ---------------------------------------------------------------


def test_the_record_of_the_default_study_is_honest() -> None:
    review = load_review(REPOSITORY / "reviews" / "ipsa")
    assert {c.reader for c in review.comments} == {"example"}, "real comments need a look at this test"
    assert {c.route for c in review.comments} == {"html", "docx", "csv"}
    assert {c.status for c in review.comments} >= {"declined", "changed"}
    assert all(answer_faults(c.id, c) == [] for c in review.comments)
    assert not review_status(review).waiting
    assert review.involvement.people == 0
    assert not any([*review.involvement.four_pi.values(), *review.involvement.gripp2.values()])
    assert review.involvement.credits == ()
