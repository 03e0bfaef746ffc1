"""The other forms of the peer report: large print, plain text, and the template for Easy Read."""

from __future__ import annotations

import html
import re
from pathlib import Path

import docx
import nbformat
import pytest

from evalkit.core.errors import OutputError
from evalkit.report.variants import COLUMNS, NOT_SIGNED_OFF, VARIANTS, render_variants

ROOT = Path(__file__).parents[2]
EXECUTED = ROOT / "notebooks" / "peer_report.ipynb"


@pytest.fixture(scope="module")
def text(peer: Path) -> str:
    return (peer / "peer.txt").read_text(encoding="utf-8")


def blocks(kind: str) -> list[dict]:
    notebook = nbformat.read(EXECUTED, as_version=4)
    shown = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return [o["metadata"]["evalkit"] for o in shown if o["metadata"].get("evalkit", {}).get("kind") == kind]


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_plain_text_is_narrow_and_bare(text):
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert not re.search(r"\*\*|<[a-z]+[ >]|!\[|\|--|\[\]\{", text)


def test_every_picture_is_there_in_words(text):
    read = words(text)
    figures = blocks("figure")
    assert figures
    for figure in figures:
        assert words(f"[Picture: {figure['alt']}]").replace("'", "’") in read.replace("'", "’")


def test_every_cell_of_every_table_is_there(text):
    read = words(text)
    for table in blocks("table"):
        for row in table["rows"]:
            for name, cell in zip(table["columns"][1:], row[1:], strict=True):
                assert not cell or words(f"{name}: {cell}".rstrip(".")) in read
    assert re.search(r"^1\.\s", text, re.MULTILINE)


def test_easy_read_has_one_sentence_and_one_place_for_a_picture_a_row(peer):
    page = (peer / "peer_easy_read.html").read_text(encoding="utf-8")
    said = [html.unescape(found) for found in re.findall(r'<p class="said">(.*?)</p>', page)]
    assert len(said) > 5
    assert page.count('class="slot"') == len(said)
    assert NOT_SIGNED_OFF in page
    table = docx.Document(str(peer / "peer_easy_read.docx")).tables[0]
    assert [row.cells[1].paragraphs[0].text for row in table.rows[1:]] == said
    for sentence in said:
        remark = f"Too long for Easy Read: {len(sentence.split())} words."
        assert (remark in page) == (len(sentence.split()) > 15), sentence


def test_the_sentences_of_easy_read_are_those_of_the_summary(peer, text):
    page = (peer / "peer_easy_read.html").read_text(encoding="utf-8")
    read = words(text).replace("’", "'")
    for found in re.findall(r'<p class="said">(.*?)</p>', page):
        assert words(html.unescape(found)).replace("’", "'") in read


def test_the_same_notebook_gives_the_same_bytes(peer, tmp_path):
    again = render_variants(EXECUTED, tmp_path, title="Peer report")
    assert tuple(path.name for path in again) == VARIANTS
    for path in again:
        assert path.read_bytes() == (peer / path.name).read_bytes(), path.name


def test_a_folder_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        render_variants(EXECUTED, tmp_path / "nowhere", title="Peer report")
    assert not list(tmp_path.iterdir())
