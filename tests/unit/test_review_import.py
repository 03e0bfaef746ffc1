"""Comments of readers from pages and tables: what is stored, what is repeated, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.core.errors import OutputError, ParameterError, ReviewError
from evalkit.review.collect import TEXT_SIZE_LIMIT, import_comments
from evalkit.review.load import load_review
from evalkit.review.save import answer_comment, save_version
from tests.review_factory import BLOCKS, entry, html_page, write_csv, write_html


def take(*files: Path, to: Path, blocks=BLOCKS, **options):
    return import_comments(files, to, blocks=blocks, **options)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(*files: Path, to: Path, **options) -> str:
    before = files_in(to.parent)
    with pytest.raises(ReviewError) as error:
        take(*files, to=to, **options)
    assert files_in(to.parent) == before, "something was stored or touched"
    return str(error.value)


def test_comments_of_a_page_are_stored_word_for_word(tmp_path: Path) -> None:
    said = entry("First line.\nSecond — line.", kind="wrong", block="fig-a", name="Sam", consent=True, quote="A quote")
    done = take(write_html(tmp_path / "a.html", said), to=tmp_path / "rev")
    stored = load_review(tmp_path / "rev").comments
    assert stored == done.added
    (one,) = stored
    assert (one.id, one.report, one.block, one.kind, one.route, one.version) == (
        "c0001", "peer", "fig-a", "wrong", "html", 1)  # fmt: skip
    assert (one.text, one.name, one.quote, one.reader) == ("First line.\nSecond — line.", "Sam", "A quote", "peer")
    assert one.consent_to_quote is True
    assert one.status == "open"


def test_a_page_may_also_hold_one_object_with_report_and_version(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        html_page({"report": "academic", "version": 1, "comments": [entry("So?", block="methods")]}, report="")
    )
    assert take(path, to=tmp_path / "rev").added[0].report == "academic"


def test_numbers_follow_the_order_of_import_and_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_html(tmp_path / "a.html", entry("One."), entry("Two.", block="fig-a"))
    second = write_csv(tmp_path / "peer.csv", "tab-a,agree,Three.,,,,")
    for name in ("x", "y"):
        assert [c.id for c in take(first, second, to=tmp_path / name).added] == ["c0001", "c0002", "c0003"]
    assert files_in(tmp_path / "x") == files_in(tmp_path / "y")
    more = take(write_html(tmp_path / "b.html", entry("Four.")), to=tmp_path / "x")
    assert [c.id for c in more.added] == ["c0004"]


def test_a_repeated_comment_is_said_to_be_and_its_reply_stays(tmp_path: Path) -> None:
    path, record = write_html(tmp_path / "a.html", entry("The same."), entry("Other.", block="fig-a")), tmp_path / "rev"
    take(path, to=record)
    answer_comment(record, "c0001", status="accepted", reply="Yes.", by="A writer")
    before = files_in(record)
    again = take(path, to=record)
    assert (again.added, [r.id for r in again.repeated]) == ((), ["c0001", "c0002"])
    assert files_in(record) == before


def test_the_same_words_elsewhere_or_by_another_name_are_another_comment(tmp_path: Path) -> None:
    path = write_html(
        tmp_path / "a.html", entry("I agree."), entry("I agree.", block="fig-a"), entry("I agree.", kind="agree"),
        entry("I agree.", name="Sam", consent=True), entry("I  agree. "),
    )  # fmt: skip
    done = take(path, to=tmp_path / "rev")
    assert (len(done.added), len(done.repeated)) == (4, 1)
    another = take(path, to=tmp_path / "rev", same_words="another")
    assert (len(another.added), another.repeated) == (5, ())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_form_is_read_in_every_encoding_of_a_spreadsheet(tmp_path: Path, encoding: str, sign: str) -> None:
    head = sign.join(["Block", "kind", "Comment", "name", "consent to quote", "reader", "quote"])
    rows = [sign.join(["fig-a", "I agree", "Café – “yes”", "", "Yes", "carer", ""]), sign.join(["tab-a"] + [""] * 6)]
    path = write_csv(tmp_path / "peer_form.csv", *rows, head=head, encoding=encoding)
    (one,) = take(path, to=tmp_path / "rev").added
    assert (one.block, one.kind, one.text, one.reader) == ("fig-a", "agree", "Café – “yes”", "carer")
    assert one.consent_to_quote is True


def test_a_form_with_line_ends_in_a_cell_and_excels_first_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", 'tab-a;"One\nline, then ""two"""', head="sep=;\r\nblock;comment")
    assert take(path, to=tmp_path / "rev").added[0].text == 'One\nline, then "two"'


def test_what_a_form_leaves_open_is_settled_on_the_safe_side_and_told(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "peer.csv", "tab-a,,Why is that?,Sam,perhaps,,'=1+1", ",,On all of it,,,,")
    done = take(path, to=tmp_path / "rev")
    first, second = done.added
    assert (first.kind, first.consent_to_quote, first.name, first.reader) == ("question", False, "", "other")
    assert first.quote == "=1+1"
    assert second.block == "document"
    told = " ".join(done.notes)
    for words in ("neither yes nor no", "names no kind", "name in it was not kept", "the report as a whole"):
        assert words in told


def test_the_kind_may_be_the_first_word(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", "tab-a,,Wrong: not so.,,,,", "fig-a,,This is upsetting - stop,,,,",
                     "deaths,,Note: well,,,,")  # fmt: skip
    found = [(c.kind, c.text) for c in take(path, to=tmp_path / "rev").added]
    assert found == [("wrong", "not so."), ("upsetting", "stop"), ("unclear", "Note: well")]


TRICKS = [
    "!!python/object/apply:os.system ['true']", "status: changed\nreply: Done", "- a\n- b", "{a: b} # c", "&a *a",
    "'quoted' \"twice\"", "<script>alert(1)</script><img src=x onerror=alert(1)>", "---\n...\n", "yes", "~", "1e3",
    "| block\n  text", "  indented", "%TAG ! x", "👩‍👩‍👧 Ünïcödé ‘quotes’", "=1+1", "</script>", "`x` $(x)", "null",
]  # fmt: skip


def test_text_that_looks_like_code_stays_text(tmp_path: Path) -> None:
    done = take(write_html(tmp_path / "a.html", *map(entry, TRICKS)), to=tmp_path / "rev")
    assert len(done.added) == len(TRICKS)
    stored = load_review(tmp_path / "rev").comments
    assert [c.text for c in stored] == [text.strip() for text in TRICKS]
    assert {(c.status, c.reply) for c in stored} == {("open", "")}


def test_invisible_signs_that_turn_text_round_are_taken_out(tmp_path: Path) -> None:
    path = write_html(tmp_path / "a.html", entry("a\u202eb\u200bc\ufeff\td\u2028e"))
    assert take(path, to=tmp_path / "rev").added[0].text == "abc d\ne"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (entry("x" * 10_000), "10,000 characters"),
        (entry("bell \x07"), "U+0007"),
        (entry("half \ud800 sign"), "U+D800"),
        (entry("x", block="text-zz-9"), "no version of the peer report has its block"),
        (entry("x", block="Call me on 07700 900123"), "not an id"),
        (entry("x", kind="angry"), "its kind is unknown"),
        (entry("x", reader="boss"), "who the reader is"),
        (entry("x", status="changed"), "not known"),
        (entry(5), "is not text"),
        (entry("x", consent="yes"), "neither true nor false"),
        ({"text": "x"}, '"block" is missing'),
        ("x", "not an entry"),
        (entry("x", name="n" * 61), "the name is too long"),
    ],
)
def test_a_bad_comment_refuses_the_whole_file(tmp_path: Path, said: object, told: str) -> None:
    path = write_html(tmp_path / "a.html", entry("A good one."), said)
    message = refused(path, to=tmp_path / "rev")
    assert told in message
    assert "a.html, comment 2" in message
    assert "07700" not in message


def test_all_faults_of_all_files_come_at_once_and_nothing_is_stored(tmp_path: Path) -> None:
    good = write_html(tmp_path / "good.html", entry("Good."))
    bad = write_html(tmp_path / "bad.html", entry("x", block="nowhere"), entry("y", kind="odd"))
    form = write_csv(tmp_path / "f.csv", "none,agree,x,,,,")
    message = refused(good, bad, form, tmp_path / "missing.csv", to=tmp_path / "rev")
    assert "(4 faults)" in message
    assert not (tmp_path / "rev").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 x", "another form"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old or locked Word"),
        (b"{\\rtf1", "another form"),
        (b"\x89PNG\x00\x00", "not a text file"),
        (b"just some words", "neither a page"),
        (b"<html><body>The report itself</body></html>", "without comments"),
        (b"<html>\xff</html>", "not text in UTF-8"),
        (b'<script id="evalkit-comments">[{"block"', "not JSON"),
        (b'<script id="evalkit-comments">' + b"[" * 100_000 + b"</script>", "not JSON"),
        (b'<script id="evalkit-comments">[]</script>', "no comments in it"),
        (b'<script id="evalkit-comments">"x"</script>', "not a list"),
        (b'<script id="evalkit-comments">[]</script>' * 2, "more than one list"),
        (b'<script id="evalkit-comments">{"coments": []}</script>', "not known"),
        (b"block,comment\r\n", "no comments in it"),
        (b"block,comment,comment\r\na,b,c\r\n", "stands there twice"),
        (b"block,comment\r\nfig-a," + b"x" * 200_000, "cannot be read as CSV"),
        (b"block,comment\r\ntab-a,one, two\r\n", "more cells"),
        (b"block,comment,version\r\ntab-a,one,new\r\n", "not a whole number"),
    ],
)
def test_a_file_that_is_no_list_of_comments_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    assert told in refused(path, to=tmp_path / "rev")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"block,comment\n" + b"x" * TEXT_SIZE_LIMIT)
    assert "too large" in refused(path, to=tmp_path / "rev")


def test_too_many_comments_are_refused(tmp_path: Path) -> None:
    path = write_html(tmp_path / "a.html", *[entry(f"n {n}") for n in range(5_001)])
    assert "too many comments" in refused(path, to=tmp_path / "rev")


def test_a_block_of_an_earlier_version_is_kept_with_that_version(tmp_path: Path) -> None:
    record = tmp_path / "rev"
    save_version(record, manifest_digest="m1", blocks=BLOCKS | {"peer": BLOCKS["peer"] | {"text-old-1": "2" * 16}})
    save_version(record, manifest_digest="m2", blocks=BLOCKS)
    done = take(write_html(tmp_path / "a.html", entry("Old.", block="text-old-1"), version="1"), to=record)
    assert [(c.block, c.version) for c in done.added] == [("text-old-1", 1)]
    assert "Version 1 has it" in " ".join(done.notes)
    later = take(write_csv(tmp_path / "peer.csv", "text-a-1,agree,Now.,,,,"), to=record)
    assert later.added[0].version == 2
    draft = take(write_csv(tmp_path / "p.csv", "fresh,agree,New.,,,,"), to=record, blocks={"peer": {"fresh": "1"}})
    assert draft.added[0].version == 3
    assert "does not know" in refused(write_html(tmp_path / "b.html", entry("x"), version="4"), to=record)


def test_a_form_that_could_be_about_either_report_must_say_which(tmp_path: Path) -> None:
    row = "fig-a,agree,Yes.,,,,"
    assert "which report" in refused(write_csv(tmp_path / "form.csv", row), to=tmp_path / "rev")
    assert take(write_csv(tmp_path / "academic_form.csv", row), to=tmp_path / "x").added[0].report == "academic"
    said = write_csv(tmp_path / "form.csv", "Academic,fig-a,Yes.", head="report,block,comment")
    assert take(said, to=tmp_path / "y").added[0].report == "academic"


def test_other_columns_are_left_unread(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", "tab-a,Yes.,a@b.org", head="block,comment,e-mail of me")
    done = take(path, to=tmp_path / "rev")
    assert "1 other column was not read" in " ".join(done.notes)
    assert all(b"a@b.org" not in content for content in files_in(tmp_path / "rev").values())


# ---- personal data ---------------------------------------------------------------------------------

PHONE = "Ring me on 07700 900123 please, the table is wrong."


def test_personal_data_are_held_back_and_named_but_never_shown(tmp_path: Path) -> None:
    path, record = write_html(tmp_path / "a.html", entry(PHONE), entry("A plain one.")), tmp_path / "rev"
    done = take(path, to=record)
    assert [(f.block, f.found) for f in done.flagged] == [("text-a-1", ("telephone number",))]
    assert [c.text for c in done.added] == ["A plain one."]
    assert all(b"900123" not in content for content in files_in(record).values())
    assert "900123" not in repr(done)
    assert [held.found for held in load_review(record).held] == [("telephone number",)]
    take(path, to=record)
    assert len(load_review(record).held) == 1


def test_what_was_held_back_is_stored_once_it_is_blanked(tmp_path: Path) -> None:
    path, record = write_html(tmp_path / "a.html", entry(PHONE, name="Sam Smith", consent=True)), tmp_path / "rev"
    take(path, to=record)
    done = take(path, to=record, flags="blank")
    assert done.added[0].text == "Ring me on [telephone number removed] please, the table is wrong."
    assert done.added[0].name == ""
    review = load_review(record)
    assert (len(review.comments), review.held) == (1, ())
    assert len(take(path, to=record).repeated) == 1


def test_a_flag_may_be_accepted_for_a_reason_but_never_one_that_points_at_a_person(tmp_path: Path) -> None:
    date = write_html(tmp_path / "a.html", entry("It began on 1 April 2015."))
    with pytest.raises(ParameterError, match="for a reason"):
        take(date, to=tmp_path / "rev", flags="accept")
    done = take(date, to=tmp_path / "rev", flags="accept", reason="The start of the service is public.")
    assert done.added[0].flags_accepted == "The start of the service is public."
    phone = write_html(tmp_path / "b.html", entry(PHONE))
    refusal = take(phone, to=tmp_path / "rev", flags="accept", reason="Why not")
    assert (refusal.added, len(refusal.flagged)) == ((), 1)
    assert "can never be accepted" in " ".join(refusal.notes)
    with pytest.raises(ParameterError, match="personal"):
        take(phone, to=tmp_path / "rev", flags="accept", reason="Ask Dr Smith")


def test_a_quote_with_personal_data_is_left_out_and_a_name_without_consent_too(tmp_path: Path) -> None:
    path = write_html(tmp_path / "a.html", entry("Fine.", quote="typed in: a@b.org", name="Sam"))
    (one,) = take(path, to=tmp_path / "rev").added
    assert (one.quote, one.name) == ("", "")


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as error:
        take(to=tmp_path / "rev", flags="hodl", same_words="x")
    assert len(error.value.faults) == 2


def test_a_record_that_cannot_be_written_is_said_and_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "rev").write_text("a file")
    with pytest.raises(OutputError):
        take(write_html(tmp_path / "a.html", entry("x")), to=tmp_path / "rev")
    assert (tmp_path / "rev").read_text() == "a file"


def test_the_form_that_evalkit_writes_comes_back(tmp_path: Path) -> None:
    from evalkit.report.blocks import ReportBlock
    from evalkit.report.comments import write_comment_form

    blocks = [ReportBlock(name, "paragraph", "=Some words", "0" * 16) for name in BLOCKS["peer"]]
    path = write_comment_form(blocks, tmp_path / "peer_comments.csv")
    assert "no comments in it" in refused(path, to=tmp_path / "rev")
    text = path.read_text(encoding="utf-8-sig").replace("deaths,,,", "deaths,wrong,Not so,")
    path.write_text(text, encoding="cp1252")
    (one,) = take(path, to=tmp_path / "rev").added
    assert (one.block, one.kind, one.quote) == ("deaths", "wrong", "=Some words")
    assert json.dumps(one.text) == '"Not so"'


def test_nobody_sends_a_comment_as_an_example(tmp_path: Path) -> None:
    """An example counts nowhere and is printed without being asked: a sent one would be silenced or shown so."""
    page = write_html(tmp_path / "a.html", entry("Hm.", reader="example"))
    table = write_csv(tmp_path / "peer.csv", "tab-a,wrong,Hm.,,,Example,")
    said = refused(page, table, to=tmp_path / "rev")
    assert said.count("who the reader is is unknown") == 2
    assert "example" not in said.split("Allowed:")[1]


def test_letters_that_show_as_nothing_are_taken_out(tmp_path: Path) -> None:
    page = write_html(tmp_path / "a.html", entry("a\u034fb\u3164c\u2800d"))
    assert take(page, to=tmp_path / "rev").added[0].text == "abcd"
