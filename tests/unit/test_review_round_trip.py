"""A comment written in each of the three ways comes back answered in the next report, whatever it looks like."""

from __future__ import annotations

import base64
import io
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

import docx
import nbformat
import pypandoc
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from evalkit.report import display
from evalkit.report.blocks import ReportBlock, digests, read_blocks
from evalkit.report.changes import build_labels
from evalkit.report.comments import write_comment_form
from evalkit.report.document import MARKDOWN, read_document
from evalkit.report.peer_involvement import show_involvement, show_said_and_done, show_support
from evalkit.report.render_docx import write_docx
from evalkit.review.collect import import_comments
from evalkit.review.load import load_review
from evalkit.review.record import Comment, Held, Review
from evalkit.review.save import answer_comment, save_version
from tests.report_factory import make_release
from tests.review_factory import comment_on, entry, write_html

HOSTILE = "<script>alert(1)</script> ![x](/etc/passwd) *so*"


def shown(block: dict, data: dict):
    return new_output("display_data", data=data, metadata={"evalkit": block})


def notebook():
    held = io.BytesIO()
    Image.new("RGB", (40, 20), "teal").save(held, format="png")
    cell = new_code_cell("show()", id="code")
    cell.outputs = [
        shown({"kind": "document", "id": "document", "title": "A report", "subtitle": "", "banner": "", "facts": {},
               "report": "peer"}, {"text/plain": "x"}),
        shown({"kind": "text", "id": "text-lead"}, {"text/markdown": "First words.\n\n- one thing\n- another"}),
        shown({"kind": "figure", "id": "fig-a", "caption": "A bar", "alt": "A bar.", "width_inches": 4.0},
              {"image/png": base64.b64encode(held.getvalue()).decode()}),
        shown({"kind": "table", "id": "tab-a", "caption": "Counts", "note": "", "align": ["left", "right"],
               "columns": ["Group", "People"], "rows": [["Here", "120"]]}, {"text/plain": "x"}),
    ]  # fmt: skip
    return new_notebook(cells=[new_markdown_cell("## Back to hospital\n\nWell.", id="prose"), cell])


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, tuple[ReportBlock, ...]]:
    """A small report in Word, and its blocks."""
    folder = tmp_path_factory.mktemp("report")
    nbformat.write(notebook(), folder / "in.ipynb")
    document = read_document(folder / "in.ipynb", media=folder, title="T")
    with as_file(files("evalkit.report")) as package:
        return write_docx(document, folder, package / "templates"), read_blocks(document)


@pytest.fixture
def reviews(tmp_path: Path, report: tuple[Path, tuple[ReportBlock, ...]]) -> Path:
    """A record with a comment by each route, on a caption, a list item and a paragraph."""
    word, blocks = report
    document = docx.Document(word)
    comment_on(document, "Figure 1. A bar", "wrong: not by the look of it.")
    document.save(tmp_path / "peer.docx")
    form = write_comment_form(blocks, tmp_path / "peer_comments.csv")
    filled = form.read_text(encoding="utf-8-sig").replace(
        "text-lead-2,,,,,,", "text-lead-2,missing,More of it.,,yes,carer,"
    )
    form.write_text(filled, encoding="utf-8")
    page = write_html(tmp_path / "c.html", entry(HOSTILE, block="text-lead-1", name="Sam", consent=True))
    import_comments([tmp_path / "peer.docx", form, page], tmp_path / "rev", blocks={"peer": digests(blocks)})
    return tmp_path / "rev"


def said_next(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the next report says of the comments, as its page does."""
    texts: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, **_: texts.append(data["text/markdown"]))
    show_said_and_done(make_release(), load_review(reviews))
    return pypandoc.convert_text("\n\n".join(texts), "html", MARKDOWN, extra_args=["--wrap=none"])


def test_every_comment_comes_back_answered(reviews, report, monkeypatch) -> None:
    found = load_review(reviews).comments
    assert [(c.route, c.block, c.kind, c.quote) for c in found] == [
        ("docx", "fig-a", "wrong", "Figure 1. A bar"),
        ("csv", "text-lead-2", "missing", "one thing"),
        ("html", "text-lead-1", "unclear", ""),
    ]
    answer_comment(reviews, "c0001", status="changed", reply="It is drawn anew.", by="Writer", changed=["fig-a"])
    answer_comment(
        reviews, "c0002", status="declined", reply="We cannot.", reason="Too few.", by="Writer", second="Peer"
    )
    answer_comment(reviews, "c0003", status="accepted", reply="Yes, <b>so</b> it is.", by="Writer")
    page = said_next(reviews, monkeypatch)
    for words in ("It is drawn anew.", "We cannot.", "Too few.", "Writer and Peer", "More of it.", "Sam"):
        assert words in page
    assert "not by the look of it" not in page, "this reader did not agree to be quoted"
    for harm in ("<script", "<img", "<em>so", "<b>"):
        assert harm not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ![x](/etc/passwd) *so*" in page
    assert "&lt;b&gt;so&lt;/b&gt;" in page


def shown_by(call, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `call` shows as text, as the page does."""
    texts: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, **_: texts.append(data.get("text/markdown", "")))
    call()
    return pypandoc.convert_text("\n\n".join(texts), "html", MARKDOWN, extra_args=["--wrap=none"])


def test_who_took_part_and_contacts_are_plain_words(tmp_path: Path, monkeypatch) -> None:
    """Written by hand, so nobody's markup: a line of it must neither run nor become a heading."""
    lines = f"  - '{HOSTILE}'\n  - \"A peer\\n\\n# A heading\"\n"
    (tmp_path / "involvement.yaml").write_text(f"credits:\n{lines}support:\n{lines}")
    review = load_review(tmp_path)
    for show in (show_involvement, show_support):
        page = shown_by(partial(show, make_release(), review), monkeypatch)
        assert "&lt;script&gt;alert(1)&lt;/script&gt; ![x](/etc/passwd) *so*" in page
        assert "<li>A peer # A heading.</li>" in page
        for harm in ("<script", "<img", "<em>so", "<h1"):
            assert harm not in page


SAID = Comment("c0002", "peer", "text-lead-1", "wrong", "One\ntwo\n\nthree", quote="A caption", consent_to_quote=True,
               status="changed", reply="Yes.", decided_by="A", changed=("a", "a"))  # fmt: skip


def test_what_is_said_of_a_comment_is_exact(monkeypatch) -> None:
    held = [Held(key, report, "x", "csv", ("date",)) for key, report in (("1", "peer"), ("2", "academic"))]
    review = Review((SAID,), held=tuple(held))
    page = shown_by(partial(show_said_and_done, make_release(), review), monkeypatch)
    assert "“A caption”." in page
    assert "One<br" in page
    assert "two</p>" in page, "a blank line ends a paragraph"
    assert "We changed 1 place. What still stands in the report is marked." in page
    assert "1 more came in with what looks like personal details" in page, "the other is on the other report"
    assert "Taken out of the record, with all that was said there: c0001." in page


def test_what_an_answer_changed_is_marked_and_old_places_stay_known(reviews, report) -> None:
    blocks = report[1]
    answer_comment(reviews, "c0001", status="changed", reply="Done.", by="Writer", changed=["fig-a"])
    save_version(reviews, manifest_digest="m", blocks={"peer": digests(blocks)})
    review = load_review(reviews)
    assert review.number == 2
    labels = build_labels(blocks, review, report="peer", version=1)
    assert "c0001" in labels["fig-a"]
    left = {block.id: block.digest for block in blocks if block.id != "text-lead-3"}
    page = write_html(reviews.parent / "late.html", entry("Late.", block="text-lead-3"))
    done = import_comments([page], reviews, blocks={"peer": left})
    assert [(c.id, c.version) for c in done.added] == [("c0004", 1)]
