"""The Word files: real headings, header rows, alternative text, language, and that LibreOffice opens them."""

from __future__ import annotations

import docx
import pikepdf
import pytest
from docx.oxml.ns import qn

from tests.docx_checks import convert_with_office, find_docx_faults, find_office


@pytest.mark.parametrize("name", ["peer.docx", "peer_easy_read.docx"])
def test_the_word_files_have_what_a_reader_needs(peer, name):
    assert find_docx_faults(peer / name) == []


@pytest.mark.slow
def test_the_academic_word_file_has_what_a_reader_needs(academic):
    assert find_docx_faults(academic / "academic.docx") == []


def test_headings_keep_with_what_follows_and_pages_are_numbered(peer):
    document = docx.Document(str(peer / "peer.docx"))
    assert all(document.styles[f"Heading {level}"].paragraph_format.keep_with_next for level in (1, 2, 3))
    footer = document.sections[0].footer._element.xml
    assert "PAGE" in footer
    assert "NUMPAGES" in footer


def test_the_mark_of_easy_read_is_on_every_page(peer):
    section = docx.Document(str(peer / "peer_easy_read.docx")).sections[0]
    assert "Not signed off: people who use services must check this first" in section.header.paragraphs[0].text
    assert not section.different_first_page_header_footer


def test_a_stripped_word_file_is_told_apart(peer, tmp_path):
    document = docx.Document(str(peer / "peer.docx"))
    for mark in list(document.element.body.iter(qn("w:tblHeader"))):
        mark.getparent().remove(mark)
    for drawing in document.element.body.iter(qn("wp:docPr")):
        drawing.attrib.pop("descr", None)
    next(p for p in document.paragraphs if p.style.name == "Heading 2").style = document.styles["Heading 4"]
    document.save(str(tmp_path / "bad.docx"))
    faults = " ".join(find_docx_faults(tmp_path / "bad.docx"))
    assert "no header row" in faults
    assert "no alternative text" in faults
    assert "heading 4 follows 1" in faults


@pytest.mark.slow
def test_libreoffice_opens_the_word_file_as_it_is(peer, tmp_path):
    if find_office() is None:
        pytest.skip("LibreOffice is not installed: install it to test the Word file (on Debian: apt-get install "
                    "libreoffice-writer)")  # fmt: skip
    made = convert_with_office(peer / "peer.docx", tmp_path)
    with pikepdf.open(made) as pdf:
        assert len(pdf.pages) > 10
