"""Comments in a Word file: where they stand, threads, and files made to do harm."""

from __future__ import annotations

import struct
import time
import zipfile
from pathlib import Path

import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

from evalkit.core.errors import ReviewError
from evalkit.review import from_docx
from evalkit.review.blocks import bookmark_name
from evalkit.review.collect import import_comments
from tests.review_factory import (
    BLOCKS,
    LONG_ID,
    comment_on,
    docx_parts,
    mark,
    paragraph_of,
    report_document,
    with_threads,
    write_zip,
)


def take(path: Path, tmp_path: Path, blocks=BLOCKS):
    return import_comments([path], tmp_path / "rev", blocks=blocks)


def saved(document, tmp_path: Path) -> Path:
    path = tmp_path / "report with comments.docx"
    document.save(path)
    return path


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(ReviewError) as error:
        take(path, tmp_path)
    assert not (tmp_path / "rev").exists()
    return str(error.value)


def test_comments_in_text_headings_captions_and_cells_find_their_block(tmp_path: Path) -> None:
    document = report_document()
    for text, said in (
        ("A cell", "wrong: this cell."), ("Deaths", "Upsetting: no warning."), ("More.", "More of what?"),
        ("Figure 1. How many came back", "The caption."), ("Table 1. Groups", "I agree: yes."),
        ("The end of it.", "experience: so it was\n\nfor me too."),
    ):  # fmt: skip
        comment_on(document, text, said)
    done = take(saved(document, tmp_path), tmp_path)
    assert [(c.block, c.kind, c.text) for c in done.added] == [
        ("deaths", "upsetting", "no warning."),
        ("text-a-2", "question", "More of what?"),
        ("fig-a", "unclear", "The caption."),
        ("tab-a", "agree", "yes."),
        ("tab-a", "wrong", "this cell."),
        ("text-b-1", "experience", "so it was\n\nfor me too."),
    ]
    assert [c.quote for c in done.added][:2] == ["Deaths", "More."]
    assert {c.report for c in done.added} == {"peer"}
    assert {c.route for c in done.added} == {"docx"}


def test_who_wrote_it_and_when_is_never_read(tmp_path: Path) -> None:
    document = report_document()
    comment_on(document, "More.", "wrong: no.", author="Anna Example")
    done = take(saved(document, tmp_path), tmp_path)
    assert (done.added[0].name, done.added[0].reader, done.added[0].consent_to_quote) == ("", "other", False)
    for path in (tmp_path / "rev").rglob("*.yaml"):
        assert "Anna" not in path.read_text()
        assert "AE" not in path.read_text()
    assert "names that Word keeps" in " ".join(done.notes)


def test_replies_follow_their_comment_and_resolved_ones_still_count(tmp_path: Path) -> None:
    document = report_document()
    comment_on(document, "The end of it.", "Last place.")
    comment_on(document, "Deaths", "First place?")
    reply = document.part._comments_part.comments.add_comment("I agree: with that.", author="Other")
    path = saved(document, tmp_path)
    with_threads(path, {0: (None, True), 1: (None, False), reply.comment_id: (1, True)})
    done = take(path, tmp_path)
    assert [(c.block, c.text) for c in done.added] == [
        ("deaths", "First place?"), ("deaths", "with that."), ("text-b-1", "Last place."),
    ]  # fmt: skip
    assert done.added[1].quote == done.added[0].quote == "Deaths", "another reader's words are no quote"
    assert any("comment 2: it answers comment 1" in note for note in done.notes)
    assert sum("marked as resolved" in note for note in done.notes) == 2
    assert {c.status for c in done.added} == {"open"}


def test_a_range_that_starts_before_the_bookmark_or_between_paragraphs(tmp_path: Path) -> None:
    document = report_document()
    comment_on(document, "More.", "Whole paragraph.")
    comment_on(document, "The end of it.", "From outside.")
    first, second = paragraph_of(document, "More.")._p, paragraph_of(document, "The end of it.")._p
    start = first.find(qn("w:commentRangeStart"))
    first.insert(0, start)  # before the bookmark of the paragraph
    second.addprevious(second.find(qn("w:commentRangeStart")))  # in the body, before the paragraph
    done = take(saved(document, tmp_path), tmp_path)
    assert [(c.block, c.quote) for c in done.added] == [("text-a-2", "More."), ("text-b-1", "The end of it.")]


def test_a_comment_on_no_block_is_about_the_whole_report(tmp_path: Path) -> None:
    document = report_document()
    before = document.paragraphs[0].insert_paragraph_before("A title")
    document.add_comment(before.runs[0], text="All too long?")
    document.part._comments_part.comments.add_comment("No place at all.")
    done = take(saved(document, tmp_path), tmp_path)
    assert [(c.block, c.text) for c in done.added] == [
        ("document", "All too long?"), ("document", "No place at all."),
    ]  # fmt: skip
    assert sum("stands at no block" in note for note in done.notes) == 2


def test_an_id_too_long_for_word_is_known_by_what_pandoc_makes_of_it(tmp_path: Path) -> None:
    document = report_document()
    mark(document.add_paragraph("A long heading"), bookmark_name(LONG_ID))
    comment_on(document, "A long heading", "wrong: x.")
    blocks = {"peer": BLOCKS["peer"] | {LONG_ID: "3"}, "academic": BLOCKS["academic"]}
    assert take(saved(document, tmp_path), tmp_path, blocks).added[0].block == LONG_ID
    # What pandoc wrote into a peer report for the heading of another outcome.
    other = "going-back-to-a-mental-health-ward-within-1-month-of-leaving"
    assert bookmark_name(other) == "Xf7360e456fe1be9e27090027a0330e6599cc460"


def test_words_typed_into_the_text_are_left_unread_with_a_warning(tmp_path: Path) -> None:
    document = report_document()
    paragraph = paragraph_of(document, "More.")
    typed = OxmlElement("w:ins")
    run = paragraph.add_run("MY NUMBER IS 07700 900123")
    typed.append(run._r)
    paragraph._p.append(typed)
    comment_on(document, "Deaths", "wrong: this.")
    done = take(saved(document, tmp_path), tmp_path)
    assert [c.text for c in done.added] == ["this."]
    assert "1 tracked change" in " ".join(done.notes)
    assert "07700" not in " ".join(done.notes)


def test_a_comment_that_was_edited_with_track_changes_reads_as_it_stands(tmp_path: Path) -> None:
    document = report_document()
    comment = comment_on(document, "Deaths", "wrong: keep")
    gone, new = OxmlElement("w:del"), OxmlElement("w:ins")
    for holder, tag, text in ((gone, "w:delText", " secret"), (new, "w:t", " this")):
        run, words = OxmlElement("w:r"), OxmlElement(tag)
        words.text = text
        words.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
        run.append(words)
        holder.append(run)
        comment.paragraphs[0]._p.append(holder)
    assert take(saved(document, tmp_path), tmp_path).added[0].text == "keep this"


def test_the_report_is_told_by_its_bookmarks(tmp_path: Path) -> None:
    import docx

    document = docx.Document()
    for name in ("methods", "text-m-1", "fig-a"):
        mark(document.add_paragraph(f"About {name}"), name)
    comment_on(document, "About fig-a", "wrong: x.")
    assert take(saved(document, tmp_path), tmp_path).added[0].report == "academic"


def test_no_comments_and_empty_ones_are_said(tmp_path: Path) -> None:
    document = report_document()
    assert "no comments in it" in refused(saved(document, tmp_path), tmp_path)
    comment_on(document, "Deaths", "")
    assert "no comments in it" in refused(saved(document, tmp_path), tmp_path)
    comment_on(document, "More.", "wrong: x.")
    done = take(saved(document, tmp_path), tmp_path)
    assert len(done.added) == 1
    assert "left out" in " ".join(done.notes)


def test_personal_data_in_a_word_comment_are_held_back(tmp_path: Path) -> None:
    document = report_document()
    comment_on(document, "Deaths", "I am Sam, NHS number 943 476 5919.")
    done = take(saved(document, tmp_path), tmp_path)
    assert (done.added, done.flagged[0].found) == ((), ("NHS number",))
    held = (tmp_path / "rev" / "comments" / "held.yaml").read_text()
    assert "943" not in held
    assert "Sam" not in held


# ---- files made to do harm -------------------------------------------------------------------------

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 10))
    + "]><b>&a9;</b>"
)


def good_parts() -> dict[str, bytes]:
    document = report_document()
    comment_on(document, "Deaths", "wrong: this.")
    return docx_parts(document)


@pytest.mark.parametrize("part", ["word/document.xml", "word/comments.xml", "word/commentsExtended.xml"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BOMB.encode(), "defines entities"),
        (BOMB.encode("utf-16"), "not in UTF-8"),
        (b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x"><x/>', "defines entities"),
        (b"<?xml version='1.0' encoding='UTF-7'?>+ADwAIQ-DOCTYPE x+AD4-<x/>", "is not XML"),
        (b"<a>" * 5_000, "is not XML"),
        (b"", "is not XML"),
        (b"not xml", "is not XML"),
    ],
)
def test_xml_made_to_do_harm_is_refused(tmp_path: Path, part: str, content: bytes, told: str) -> None:
    path = write_zip(tmp_path / "a.docx", good_parts() | {part: content})
    message = refused(path, tmp_path)
    assert told in message
    assert part in message


def test_a_part_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_docx, "PART_LIMIT", 2**20)
    bomb = b"<x>" + b" " * 5 * 2**20 + b"</x>"
    path = write_zip(tmp_path / "a.docx", good_parts() | {"word/comments.xml": bomb})
    assert path.stat().st_size < 2**18
    assert "too large" in refused(path, tmp_path)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_docx, "PART_LIMIT", 2**20)
    bomb = b"<x>" + b" " * 5 * 2**20 + b"</x>"
    path = write_zip(tmp_path / "a.docx", good_parts() | {"word/comments.xml": bomb})
    size = struct.pack("<I", len(bomb))
    assert path.read_bytes().count(size) >= 2
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 100)))
    assert refused(path, tmp_path)


def test_zips_that_are_no_word_files_are_refused(tmp_path: Path) -> None:
    sheet = write_zip(tmp_path / "a.docx", {"xl/workbook.xml": "<x/>"})
    assert "not a Word document" in refused(sheet, tmp_path)
    (tmp_path / "b.docx").write_bytes(b"PK\x03\x04 and no more")
    assert "broken or locked" in refused(tmp_path / "b.docx", tmp_path)
    whole = write_zip(tmp_path / "c.docx", good_parts()).read_bytes()
    (tmp_path / "c.docx").write_bytes(whole[: len(whole) // 2])
    assert "broken or locked" in refused(tmp_path / "c.docx", tmp_path)
    many = write_zip(tmp_path / "d.docx", good_parts() | {f"x{n}": "" for n in range(from_docx.MAX_PARTS)})
    assert "list of parts" in refused(many, tmp_path)


def test_a_part_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.docx", good_parts())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("word/comments.xml", "<x/>")
    assert "list of parts" in refused(path, tmp_path)


def test_a_locked_part_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.docx", good_parts())
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    for sign, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := content.find(sign, at + 1)) >= 0:
            content[at + offset] |= 1
    path.write_bytes(bytes(content))
    assert "locked with a password" in refused(path, tmp_path)


def test_a_text_box_in_a_comment_is_read_once(tmp_path: Path) -> None:
    parts = good_parts()
    inner = b"<w:r><w:pict><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>"
    xml = parts["word/comments.xml"]
    parts["word/comments.xml"] = xml.replace(b"</w:p></w:comment>", inner + b"</w:p></w:comment>", 1)
    assert parts["word/comments.xml"] != xml
    path = write_zip(tmp_path / "peer.docx", parts)
    assert take(path, tmp_path).added[0].text.count("in a box") == 1


def test_many_comments_over_much_text_take_no_more_than_their_sum(tmp_path: Path) -> None:
    parts, many = good_parts(), 300
    space = b'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    starts = b"".join(b'<w:commentRangeStart w:id="%d"/>' % n for n in range(many))
    said = b"".join(b'<w:comment w:id="%d"><w:p><w:r><w:t>No. %d?</w:t></w:r></w:p></w:comment>' % (n, n)
                    for n in range(many))  # fmt: skip
    parts["word/document.xml"] = (
        b'<w:document %s><w:body><w:p><w:bookmarkStart w:id="1" w:name="text-a-1"/>%s<w:r><w:t>y</w:t></w:r></w:p>%s'
        b"</w:body></w:document>" % (space, starts, b"<w:p/>" * 100_000)
    )
    parts["word/comments.xml"] = b"<w:comments %s>%s</w:comments>" % (space, said * 20)
    assert "too many comments" in refused(write_zip(tmp_path / "peer.docx", parts), tmp_path)
    parts["word/comments.xml"] = b"<w:comments %s>%s</w:comments>" % (space, said)
    began = time.process_time()
    assert len(take(write_zip(tmp_path / "peer.docx", parts), tmp_path).added) == many
    assert time.process_time() - began < 4


def test_a_part_packed_in_a_way_that_breaks_is_refused(tmp_path: Path) -> None:
    for method in (9, 12, 14, 99):
        broken = bytearray(write_zip(tmp_path / "peer.docx", good_parts()).read_bytes())
        for place in range(len(broken) - 12):
            if broken[place : place + 4] == b"PK\3\4":
                broken[place + 8] = method
            if broken[place : place + 4] == b"PK\1\2":
                broken[place + 10] = method
        (tmp_path / "peer.docx").write_bytes(bytes(broken))
        assert "broken or locked" in refused(tmp_path / "peer.docx", tmp_path)
