"""Every block of a report bears a stable id in all its forms, and what changed since a version is said beside it."""

from __future__ import annotations

import base64
import csv
import io
import re
import zipfile
from dataclasses import replace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from evalkit.core.errors import OutputError, ParameterError
from evalkit.report.blocks import ReportBlock, digests, read_blocks
from evalkit.report.changes import build_labels, with_labels
from evalkit.report.comments import FORM_COLUMNS, QUOTE_LENGTH, READERS, write_comment_form
from evalkit.report.document import read_document
from evalkit.report.render import Rendered, render_report
from evalkit.review.from_csv import read_csv
from evalkit.review.record import KINDS, Comment, Review, Version

TEXT = """### A heading

First *one* &lt;b&gt;, with $x_i$.

- an item

  and more of it
- [a link](#a-heading)

> a quote

Term
:   what it means

| a | b |
|---|---|
| 1 | 2 |
"""


def png(colour: str) -> str:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, format="png")
    return base64.b64encode(out.getvalue()).decode()


def shown(block: dict, data: dict | None = None):
    return new_output("display_data", data=data or {"text/plain": "x"}, metadata={"evalkit": block})


def figure(name: str, caption: str, colour: str):
    block = {"kind": "figure", "id": name, "caption": caption, "alt": "A plain square.", "width_inches": 2.0}
    return shown(block, {"image/png": png(colour)})


def table(name: str):
    return shown({"kind": "table", "id": name, "caption": "Counts", "note": "Rounded to 5.", "align": ["left", "right"],
                  "columns": ["Group", "People"], "rows": [["Here", "120"]]})  # fmt: skip


def text(name: str, words: str):
    return shown({"kind": "text", "id": name}, {"text/markdown": words})


def notebook(*outputs) -> nbformat.NotebookNode:
    title = shown({"kind": "document", "id": "document", "title": "A title", "subtitle": "Under it",
                   "banner": "", "facts": {"Plan": "abc"}, "report": "peer"})  # fmt: skip
    cell = new_code_cell("show()", id="code")
    cell.outputs = [title, *outputs]
    prose = new_markdown_cell("## What we found\n\nOne.\n\nTwo.", id="prose")
    return new_notebook(cells=[prose, cell], metadata={"kernelspec": {"name": "python3", "display_name": "P"}})


def blocks_of(folder, *outputs) -> tuple[ReportBlock, ...]:
    return read_blocks(document_of(folder, *outputs))


def document_of(folder, *outputs):
    nbformat.write(notebook(*outputs), folder / "in.ipynb")
    return read_document(folder / "in.ipynb", media=folder, title="T")


def whole() -> list:
    return [text("text-lead", TEXT), figure("fig-a", "A square", "red"), table("tab-a")]


def released(blocks: tuple[ReportBlock, ...], number: int = 1, **other: str) -> Version:
    kept = {f"peer/{name}": digest for name, digest in digests(blocks).items()}
    return Version(number, "digest", kept | {f"peer/{name}": digest for name, digest in other.items()})


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Rendered:
    folder = tmp_path_factory.mktemp("blocks")
    nbformat.write(notebook(*whole()), folder / "in.ipynb")
    return render_report(folder / "in.ipynb", folder / "peer", title="T")


def test_blocks_are_numbered_in_reading_order_within_their_part(rendered):
    assert [(b.id, b.kind, b.text) for b in rendered.blocks] == [
        ("document", "title", "A title Under it"),
        ("what-we-found", "heading", "What we found"),
        ("prose-1", "paragraph", "One."),
        ("prose-2", "paragraph", "Two."),
        ("a-heading", "heading", "A heading"),
        ("text-lead-1", "paragraph", "First one <b>, with x_i."),
        ("text-lead-2", "item", "an item"),
        ("text-lead-3", "item", "and more of it"),
        ("text-lead-4", "item", "a link"),
        ("text-lead-5", "quote", "a quote"),
        ("text-lead-6", "item", "what it means"),
        ("text-lead-7", "table", "a b 1 2"),
        ("fig-a", "figure", "A square A plain square."),
        ("tab-a", "table", "Counts Group People Here 120"),
        ("tab-a-note", "note", "Rounded to 5."),
    ]
    assert all(re.fullmatch("[0-9a-f]{16}", b.digest) for b in rendered.blocks)


def test_every_block_is_an_id_of_the_page_and_a_bookmark_of_the_word_file(rendered):
    page = rendered.files[0].read_text(encoding="utf-8")
    with zipfile.ZipFile(rendered.files[1]) as archive:
        body = archive.read("word/document.xml").decode()
    for block in rendered.blocks:
        assert page.count(f' id="{block.id}"') == 1, block.id
        if block.kind != "title":
            assert body.count(f'w:name="{block.id}"') == 1, block.id


def test_a_digest_follows_the_words_and_the_picture_but_not_the_number(tmp_path):
    before = digests(blocks_of(tmp_path, *whole()))
    more = digests(blocks_of(tmp_path, figure("fig-new", "New", "blue"), *whole()))
    assert {name: more[name] for name in before} == before
    other = digests(blocks_of(tmp_path, text("text-lead", TEXT), figure("fig-a", "A square", "blue"), table("tab-a")))
    assert {name for name in before if before[name] != other[name]} == {"fig-a"}


def test_two_blocks_of_one_id_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="two blocks of the report") as caught:
        blocks_of(tmp_path, text("text-a", "One."), text("text-a", "Two."), table("tab-a"), table("tab-a"))
    assert [fault.where for fault in caught.value.faults] == ["tab-a", "tab-a-note", "text-a-1"]


def test_what_changed_is_told_from_what_is_new_and_what_only_moved(tmp_path):
    before = blocks_of(tmp_path, text("text-a", "One.\n\nTwo.\n\nThree."), figure("fig-a", "A", "red"))
    now = blocks_of(tmp_path, text("text-a", "One.\n\nBetween.\n\nTwo.\n\nThree!"), figure("fig-a", "A", "blue"))
    labels = build_labels(now, Review(versions=(released(before),)), report="peer", version=2)
    assert labels == {
        "text-a-2": "Changed since version 1",
        "text-a-4": "New since version 1",
        "fig-a": "Changed since version 1",
    }
    older = Version(1, "other", {f"peer/{block.id}": "0" for block in now})
    latest = Review(versions=(replace(released(now), number=2), older))
    assert build_labels(now, latest, report="peer", version=3) == {}
    assert build_labels(now, latest, report="peer", version=1) == {}
    assert build_labels(now, latest, report="academic", version=3) == {}


def test_comments_and_answers_are_not_marked_as_new(tmp_path):
    """Each of them would be: they would bury what else is new."""
    said = text("text-said-c0001", "### Comment c0001\n\n**You said**: no.\n\n**We did.** Yes.")
    now = blocks_of(tmp_path, text("text-a", "One."), text("text-said-and-done", "1 comment."), said)
    assert {"comment-c0001", "text-said-c0001-1", "text-said-and-done-1"} < {block.id for block in now}
    before = Version(1, "m", {"peer/document": now[0].digest})
    labels = build_labels(now, Review(versions=(before,)), report="peer", version=2)
    assert labels["text-a-1"] == "New since version 1"
    assert not [name for name in labels if "said" in name or "c0001" in name]


def test_what_an_answered_comment_changed_is_named_after_it(tmp_path):
    blocks = blocks_of(tmp_path, *whole())
    comment = Comment("c0001", "peer", "fig-a", "wrong", "It is.", status="changed", changed=("fig-a", "text-lead"))
    more = replace(comment, id="c0002", changed=("peer/fig-a", "not-there"))
    still_open = replace(comment, id="c0003", status="open")
    elsewhere = replace(comment, id="c0004", report="academic")
    review = Review(comments=(comment, more, still_open, elsewhere))
    assert build_labels(blocks, review, report="peer", version=1) == {
        "fig-a": "Changed after comment c0001; changed after comment c0002",
        "text-lead-1": "Changed after comment c0001",
    }


def test_labels_stand_in_words_in_every_form_and_leave_the_digests_alone(tmp_path):
    document = document_of(tmp_path, *whole())
    names = ("prose-1", "text-lead-1", "text-lead-4", "fig-a", "tab-a", "tab-a-note", "a-heading", "text-lead-7")
    labelled = with_labels(document, {name: f"New {name}" for name in names})
    found = {block.id: block for block in read_blocks(labelled)}
    for name in ("prose-1", "text-lead-4", "tab-a-note"):
        assert found[name] == next(b for b in read_blocks(document) if b.id == name)
    nbformat.write(notebook(*whole()), tmp_path / "in.ipynb")
    before = released(read_blocks(document), **dict.fromkeys(names, "0"))
    made = render_report(tmp_path / "in.ipynb", tmp_path / "p", title="T", version=2, review=Review(versions=(before,)))
    page = re.sub(r"\s+", " ", made.files[0].read_text(encoding="utf-8"))
    with zipfile.ZipFile(made.files[1]) as archive:
        body = re.sub("<[^>]+>", "", archive.read("word/document.xml").decode())
    assert page.count("Changed since version 1.") == len(names)
    assert f"What changed in this version: {len(names)} parts" in page
    for name in names:
        assert re.search(f'<li>Changed since version 1: <a href="#{name}">', page), name
    assert body.count("Changed since version 1.") == len(names)
    assert page.count("First one &lt;b&gt;, with") == 1
    assert page.count("&lt;b&gt;, with") == 2
    assert "Figure 1. A square. Changed since version 1." in page
    assert digests(made.blocks) == digests(read_blocks(document))


def test_the_form_has_a_line_for_every_block_and_no_formula(rendered, tmp_path):
    odd = (
        ReportBlock("text-x-1", "paragraph", "=1+1; “£5”", "0"),
        ReportBlock("text-x-2", "paragraph", "w " * 300, "0"),
    )
    path = write_comment_form((*rendered.blocks, *odd), tmp_path / "form.csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    assert tuple(rows[0]) == FORM_COLUMNS
    assert [row["block"] for row in rows] == [block.id for block in (*rendered.blocks, *odd)]
    assert not any(row[name] for row in rows for name in FORM_COLUMNS[1:-1])
    assert rows[-2]["quote"] == "'=1+1; “£5”"
    assert rows[-1]["quote"].endswith("w…")
    assert len(rows[-1]["quote"]) <= QUOTE_LENGTH
    with pytest.raises(OutputError, match="cannot be written"):
        write_comment_form(rendered.blocks, tmp_path / "nowhere" / "form.csv")


def test_a_line_of_the_form_that_a_reader_filled_in_is_read_back(rendered, tmp_path):
    path = write_comment_form(rendered.blocks, tmp_path / "peer_comments.csv")
    rows = path.read_text(encoding="utf-8-sig").replace(
        "prose-2,,,,,,", "prose-2,This is wrong,It was three.,Sam,yes,peer,"
    )
    parsed = read_csv(path.name, rows.encode("utf-8-sig"))
    assert parsed.faults == ()
    (comment,) = parsed.comments
    assert (comment.block, comment.text, comment.name, comment.consent) == ("prose-2", "It was three.", "Sam", True)
    assert (comment.reader, comment.quote) == ("peer", "Two.")


def test_the_page_offers_every_kind_and_every_reader(rendered):
    page = rendered.files[0].read_text(encoding="utf-8")
    for key, words in {**KINDS, **READERS}.items():
        assert f'value="{key}"' in page
        assert words in page
    assert 'data-report="peer" data-version="1"' in page
