"""The pages in a real browser: WCAG 2.2 AA by axe-core at every width, on paper, and by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.page_checks import find_overflow, find_unreached, find_violations

PAGES = ("peer.html", "peer_easy_read.html")


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    opened = chromium.new_page()
    yield opened
    opened.close()


def open_at(page: Page, path: Path, *, width: int, media: str = "screen", colours: str = "none") -> None:
    page.emulate_media(media=media, forced_colors=colours, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path.as_uri())


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    ("width", "media", "colours"),
    [(320, "screen", "none"), (768, "screen", "none"), (768, "print", "none"), (768, "screen", "active")],
    ids=["320", "768", "print", "forced-colours"],
)
def test_axe_finds_no_violation(page, peer, name, width, media, colours):
    open_at(page, peer / name, width=width, media=media, colours=colours)
    assert find_violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_the_page_never_scrolls_sideways_at_320(page, peer, name):
    open_at(page, peer / name, width=320)
    assert find_overflow(page) == []


@pytest.mark.parametrize("width", [320, 768])
def test_the_keyboard_alone_reaches_everything(page, peer, width):
    open_at(page, peer / "peer.html", width=width)
    assert find_unreached(page) == []


def test_what_the_checks_look_for_is_found_in_a_bad_page(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html><head><title>t</title></head><body style='margin:0'><img src=''><p style='width:900px'>x</p>"
        "<a href='#a' style='outline:none'>a</a><button tabindex='5' onfocus='this.blur()'>b</button></body></html>"
    )
    open_at(page, bad, width=320)
    rules = {found.split(":")[0] for found in find_violations(page)}
    assert {"html-has-lang", "image-alt"} <= rules
    assert find_overflow(page)
    assert find_unreached(page)


def test_in_forced_colours_the_cover_keeps_its_words(page, peer):
    open_at(page, peer / "peer.html", width=768, colours="active")
    told = page.evaluate(
        "() => { const s = getComputedStyle(document.querySelector('h1')); const b = getComputedStyle("
        "document.querySelector('body > header')); return [s.color, b.backgroundImage, b.backgroundColor]; }"
    )
    assert told[0] != told[2]


def test_on_paper_the_first_section_stands_alone_and_the_mark_of_easy_read_on_every_sheet(page, peer, tmp_path):
    import pikepdf

    open_at(page, peer / "peer.html", width=768, media="print")
    breaks = page.evaluate(
        "() => [...document.querySelectorAll('main > h2')].slice(0, 2).map(e => getComputedStyle(e).breakBefore)"
    )
    assert breaks == ["auto", "page"]
    open_at(page, peer / "peer_easy_read.html", width=768, media="print")
    page.pdf(path=tmp_path / "sheets.pdf", prefer_css_page_size=True, tagged=False)
    assert page.evaluate("() => getComputedStyle(document.querySelector('header')).display") == "table-header-group"
    with pikepdf.open(tmp_path / "sheets.pdf") as sheets:
        assert len(sheets.pages) > 2


@pytest.mark.slow
def test_the_academic_page_has_no_violation_and_does_not_overflow(page, academic):
    open_at(page, academic / "academic.html", width=320)
    assert find_overflow(page) == []
    assert find_violations(page) == []


def test_every_link_inside_the_page_leads_somewhere(page, peer):
    open_at(page, peer / "peer.html", width=768)
    lost = page.evaluate(
        "() => [...document.querySelectorAll('a[href^=\"#\"]')].map(a => decodeURIComponent(a.hash.slice(1)))"
        ".filter(id => !document.getElementById(id))"
    )
    assert lost == []
