"""Every rendered file read for exact counts that are not released: none there, and each planted one found."""

from __future__ import annotations

import base64
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import docx
import pikepdf
import pytest
from counts_factory import PROTOCOL, PROVENANCE, make_results
from PIL import Image, PngImagePlugin

from evalkit.core.result import Results
from evalkit.disclose import load_release, policy, release
from evalkit.disclose.scan import Unreleased, find_unreleased, scan_files

REPORTS = Path(__file__).parents[2] / "reports" / "ipsa"
SECRET = 90_437
PLANTED = Unreleased({SECRET: ("a/b/c",)})


def _html(path: Path, body: str) -> None:
    path.write_text(f"<!doctype html><html lang=en-GB><head><title>t</title></head><body>{body}</body></html>")


def _png(path: Path, **chunks: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value, zip=key == "Zipped")
    Image.new("RGB", (2, 2)).save(path, format="PNG", pnginfo=info)
    return path.read_bytes()


def _docx(path: Path, change: Callable[[docx.document.Document], object]) -> None:
    document = docx.Document()
    change(document)
    document.save(path)


def _docx_alt(document: docx.document.Document) -> None:
    document.add_paragraph("Nothing here.").add_run()._r.set("descr", f"A figure of {SECRET} people")


def _docx_runs(document: docx.document.Document) -> None:
    paragraph = document.add_paragraph("There were ")
    paragraph.add_run("90,")
    paragraph.add_run("437")
    paragraph.add_run(" of them.")


def _pdf(path: Path, *, title: str = "t", alt: str = "", words: str = "") -> None:
    pdf = pikepdf.new()
    pdf.add_blank_page()
    pdf.docinfo["/Title"] = title
    table = b"1 beginbfrange\n<0030> <0039> <0030>\nendbfrange"
    font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type0, ToUnicode=pdf.make_stream(table))
    pdf.pages[0].Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F0=pdf.make_indirect(font)))
    shown = "".join(f"{ord(c):04X}" for c in words)
    content = f"/Span<</ActualText ({alt})>>BDC BT /F0 9 Tf [<{shown}>]TJ ET EMC".encode()
    pdf.pages[0].Contents = pdf.make_stream(content)
    pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate)


def _svg(text: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg"><rect width="{SECRET}"/>{text}</svg>'


KINDS: dict[str, Callable[[Path], object]] = {
    "words.html": lambda p: _html(p, f"<p>There were {SECRET:,} people.</p>"),
    "alt.html": lambda p: _html(p, f'<img alt="{SECRET} people" src="x.png">'),
    "tooltip.html": lambda p: _html(p, f'<span title="n is {SECRET}">many</span>'),
    "aria.html": lambda p: _html(p, f'<div aria-label="{SECRET} people"></div>'),
    "data.html": lambda p: _html(p, f'<div data-count="{SECRET}"></div>'),
    "comment.html": lambda p: _html(p, f"<!-- {SECRET} -->"),
    "svg_text.html": lambda p: _html(p, _svg(f"<text>{SECRET}</text>")),
    "svg_title.svg": lambda p: p.write_text(_svg(f"<title>{SECRET} people</title>")),
    "script.html": lambda p: _html(p, f'<script type="application/json">{json.dumps({"a": [{"n": SECRET}]})}</script>'),
    "code.html": lambda p: _html(p, f"<script>const n = [1, {SECRET}];</script>"),
    "image.html": lambda p: _html(
        p, f'<img src="data:image/png;base64,{base64.b64encode(_png(p, Description=f"n {SECRET}")).decode()}">'
    ),
    "svg_image.html": lambda p: _html(
        p, f'<img src="data:image/svg+xml;base64,{base64.b64encode(_svg(f"<desc>{SECRET}</desc>").encode()).decode()}">'
    ),
    "text_chunk.png": lambda p: _png(p, Comment=f"{SECRET} people"),
    "zipped_chunk.png": lambda p: _png(p, Zipped=f"{SECRET} people"),
    "after_end.png": lambda p: p.write_bytes(_png(p) + f" {SECRET} ".encode()),
    "runs.docx": lambda p: _docx(p, _docx_runs),
    "alt.docx": lambda p: _docx(p, _docx_alt),
    "properties.docx": lambda p: _docx(p, lambda d: setattr(d.core_properties, "subject", f"{SECRET} people")),
    "words.pdf": lambda p: _pdf(p, words=str(SECRET)),
    "metadata.pdf": lambda p: _pdf(p, title=f"{SECRET} people"),
    "alt.pdf": lambda p: _pdf(p, alt=f"{SECRET} people"),
    "data.json": lambda p: p.write_text(json.dumps({"rows": [[SECRET]]})),
    "table.csv": lambda p: p.write_text(f"a;b\n{SECRET};2\n"),
    "page.md": lambda p: p.write_text(f"| {SECRET} |"),
    "page.txt": lambda p: p.write_text(f"There were 90 437 or {SECRET}."),
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_planted_count_is_found_in_every_kind_of_place(name: str, tmp_path: Path) -> None:
    KINDS[name](tmp_path / name)
    found = scan_files(tmp_path, unreleased=PLANTED)
    assert any("exact count of a/b/c" in leak.what for leak in found), found
    assert not any(str(SECRET) in f"{leak.what} {leak.place} {leak.next_step}" for leak in found)


@pytest.mark.parametrize(
    ("name", "make", "what"),
    [
        ("path.html", lambda p: _html(p, "<p>/srv/jo/tables</p>"), "a path of the machine"),
        ("clock.md", lambda p: p.write_text("Made at 2031-05-06T07:08"), "the time of a clock"),
        ("clock.docx", lambda p: _docx(p, lambda d: None), "the time"),
        ("clock.pdf", lambda p: _pdf(p, title="D:20310506070809"), "the time of a clock"),
        ("odd.xlsx", lambda p: p.write_bytes(b"PK"), "is not read"),
        ("broken.docx", lambda p: p.write_bytes(b"no archive"), "cannot be opened"),
    ],
)
def test_traces_of_the_machine_and_what_cannot_be_read_are_reported(name: str, make: Callable, what: str,
                                                                    tmp_path: Path) -> None:  # fmt: skip
    make(tmp_path / name)
    assert any(what in leak.what for leak in scan_files(tmp_path, unreleased=Unreleased({})))


def test_a_time_chunk_and_blind_text_in_a_pdf_are_reported(tmp_path: Path) -> None:
    content = _png(tmp_path / "x.png")
    data = struct.pack(">HBBBBB", 2031, 5, 6, 7, 8, 9)
    chunk = struct.pack(">I", 7) + b"tIME" + data + struct.pack(">I", zlib.crc32(b"tIME" + data))
    (tmp_path / "x.png").write_bytes(content[:33] + chunk + content[33:])
    pdf = pikepdf.new()
    pdf.add_blank_page()
    pdf.pages[0].Contents = pdf.make_stream(b"BT /F9 9 Tf (abc) Tj ET")
    pdf.save(tmp_path / "x.pdf")
    told = " ".join(leak.what for leak in scan_files(tmp_path, unreleased=Unreleased({})))
    assert "the time at which it was written" in told
    assert "font without a table" in told


@pytest.mark.parametrize(
    "words", [f"10.{SECRET}", f"{SECRET}.5", f"1{SECRET}", f"{SECRET}px", f"#{SECRET}", f"x{SECRET}", f"{SECRET}%"]
)
def test_a_part_of_another_number_or_word_is_no_alarm(words: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"See {words} there.")
    assert scan_files(tmp_path, unreleased=PLANTED) == ()


def test_parts_of_a_picture_are_no_alarm_if_they_make_up_the_whole(tmp_path: Path) -> None:
    unreleased = Unreleased({278: ("a/b/c",)})
    _html(tmp_path / "a.html", '<svg aria-label="Picture of 365. 87 discs: there. 278 rings: elsewhere."></svg>')
    assert scan_files(tmp_path, unreleased=unreleased) == ()
    _html(tmp_path / "a.html", '<svg aria-label="Picture of 365. 97 discs: there. 278 rings: elsewhere."></svg>')
    assert len(scan_files(tmp_path, unreleased=unreleased)) == 1


def test_only_counts_that_nothing_printed_are_searched_for() -> None:
    exact = make_results(5)
    released = release(exact, policy=policy("strict"), protocol=PROTOCOL, provenance=PROVENANCE)
    found = find_unreleased(exact, released).counts
    counts = exact.frame.loc[exact.frame["kind"] == "count", "value"]
    assert set(found) <= {int(n) for n in counts if n >= 100} | {int(n) for n in exact.frame["n_people"].dropna()}
    assert not set(found) & {int(n) for n in released.results.frame["value"].dropna() if n >= 100}
    least = min(found)
    assert least not in find_unreleased(exact, released, printed=[f"Page {least}"]).counts


@pytest.mark.skipif(not (REPORTS / "workings" / "results").is_dir(), reason="the workings of reports/ipsa are not here")
def test_the_default_reports_hold_no_unreleased_count() -> None:
    parts = sorted((REPORTS / "workings" / "results").glob("*.parquet"))
    unreleased = find_unreleased(Results.concat([Results.load(p) for p in parts]), load_release(REPORTS))
    assert len(unreleased.counts) > 200
    assert scan_files(REPORTS, unreleased=unreleased) == ()


def test_a_count_in_a_part_of_a_document_is_found_in_a_copy_of_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(REPORTS / "peer.docx") as old, zipfile.ZipFile(tmp_path / "peer.docx", "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "docProps/custom.xml":
                content = content.replace(b"</vt:lpwstr>", f" {SECRET}</vt:lpwstr>".encode(), 1)
            new.writestr(info, content)
    assert [leak.place for leak in scan_files(tmp_path, unreleased=PLANTED)] == ["docProps/custom.xml, <lpwstr>"]


def test_a_page_number_is_no_alarm_and_the_same_number_in_a_sentence_is(tmp_path: Path) -> None:
    unreleased = Unreleased({104: ("table/row/column",)})
    (tmp_path / "contents.txt").write_text("STROBE . . . . . . . . 104\nPage 104 of 121\n")
    assert scan_files(tmp_path, unreleased=unreleased) == ()
    (tmp_path / "told.txt").write_text("There were 104 of them on page 3 of 121.\n")
    assert [leak.file for leak in scan_files(tmp_path, unreleased=unreleased)] == ["told.txt"]
