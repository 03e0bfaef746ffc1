"""The PDFs, read with a PDF library: tags, language, alternative text, header cells, and headings that keep company."""

from __future__ import annotations

from pathlib import Path

import pikepdf
import pytest

from tests.pdf_checks import HEADINGS, find_lone_headings, find_pdf_faults, read_leaves

PEER = ("peer.pdf", "peer_large_print.pdf")


@pytest.mark.parametrize("name", PEER)
def test_the_peer_pdfs_are_tagged_and_complete(peer, name):
    assert find_pdf_faults(peer / name) == []


@pytest.mark.parametrize("name", PEER)
def test_no_heading_stands_alone_at_the_foot_of_a_page(peer, name):
    assert find_lone_headings(peer / name) == []


@pytest.mark.slow
def test_the_academic_pdf_is_tagged_complete_and_without_lone_headings(academic):
    assert find_pdf_faults(academic / "academic.pdf") == []
    assert find_lone_headings(academic / "academic.pdf") == []


def test_the_one_page_really_is_one_page(peer):
    leaves = read_leaves(peer / "peer.pdf")
    first, second = [i for i, leaf in enumerate(leaves) if "H1" in leaf.tags][:2]
    assert {leaf.page for leaf in leaves[first:second]} == {2}


def test_figures_and_formulas_are_there_to_be_checked(peer):
    tags = {tag for leaf in read_leaves(peer / "peer.pdf") for tag in leaf.tags}
    assert {"Figure", "TH", "Caption", "LI", "P", *HEADINGS[:2]} <= tags


def test_nothing_in_large_print_but_the_pictures_is_small(peer):
    """The sizes in which letters are set, by the font operator and the matrix in force."""
    with pikepdf.open(peer / "peer_large_print.pdf") as pdf:
        sizes = {size for page in list(pdf.pages)[1:8] for size in sizes_of(page)}
    assert min(sizes) >= 12, sorted(sizes)  # the running foot
    assert 18 in {round(size) for size in sizes}


def sizes_of(page: pikepdf.Page) -> set[float]:
    return {
        abs(float(operands[1]))
        for operands, operator in pikepdf.parse_content_stream(page, "Tf")
        if str(operator) == "Tf"
    }


def test_a_stripped_pdf_is_told_apart(peer, tmp_path: Path):
    with pikepdf.open(peer / "peer.pdf") as pdf:
        del pdf.Root["/MarkInfo"]
        pdf.Root["/Lang"] = pikepdf.String("de")
        for node in pdf.objects:
            if isinstance(node, pikepdf.Dictionary) and "/Alt" in node:
                del node["/Alt"]
        pdf.save(tmp_path / "bad.pdf")
    faults = find_pdf_faults(tmp_path / "bad.pdf")
    assert "it is not marked as tagged" in faults
    assert "its language is de" in faults
    assert "a Figure has no alternative text" in faults
