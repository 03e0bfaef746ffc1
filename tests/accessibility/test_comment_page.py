"""The page's comment mode in a real browser: by keyboard alone, by touch, small and large, and never by the network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from playwright.sync_api import Browser, Page

from evalkit.report.blocks import read_blocks
from evalkit.report.document import read_document
from evalkit.report.render_html import write_html
from evalkit.review.from_html import read_html
from tests.browser import open_browser

AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SIZES = ((320, 568), (1024, 768))
PARTS = 40
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">"
TEXT = "### A part\n\nFirst words of it, with $x_i$.\n\n- one thing\n- another\n\n> Somebody said so.\n"


def shown(block: dict, data: dict | None = None):
    return new_output("display_data", data=data or {"text/plain": "x"}, metadata={"evalkit": block})


def notebook() -> nbformat.NotebookNode:
    out = io.BytesIO()
    Image.new("RGB", (400, 100), "teal").save(out, format="png")
    picture = base64.b64encode(out.getvalue()).decode()
    cell = new_code_cell("show()", id="code")
    cell.outputs = [
        shown({"kind": "document", "id": "document", "title": "A report", "subtitle": "A question?",
               "banner": "Simulated people", "facts": {"Plan": "abc"}, "report": "peer"}),
        shown({"kind": "text", "id": "text-lead"}, {"text/markdown": TEXT}),
        shown({"kind": "figure", "id": "fig-a", "caption": "A bar", "alt": "A plain bar.", "width_inches": 4.0},
              {"image/png": picture}),
        shown({"kind": "table", "id": "tab-a", "caption": "Counts", "note": "Rounded to 5.", "align": ["left", "right"],
               "columns": ["Group", "People"], "rows": [["Here", "120"]]}),
        shown({"kind": "text", "id": "text-long"}, {"text/markdown": "Some words of one part.\n\n" * PARTS}),
    ]  # fmt: skip
    prose = new_markdown_cell("## What we found\n\nOne.", id="prose")
    return new_notebook(cells=[prose, cell], metadata={"kernelspec": {"name": "python3", "display_name": "P"}})


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    nbformat.write(notebook(), folder / "in.ipynb")
    document = read_document(folder / "in.ipynb", media=folder, title="T")
    changes = [(block, "Changed since version 1") for block in read_blocks(document) if block.id == "text-lead-1"]
    with as_file(files("evalkit.report")) as package:
        return write_html(document, folder, package / "templates", version=2, changes=changes)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@contextmanager
def opened(browser: Browser, path: Path, size: tuple[int, int] = (1024, 768), **options) -> Iterator[Page]:
    """The page in a window of its own; whatever it says on the console or asks of a network fails the test."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce", **options)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page
    assert said == []
    context.close()


def violations(page: Page) -> list[str]:
    found = Axe().run(page, options=AXE).response["violations"]
    return [f"{fault['id']}: {fault['nodes'][0]['target']}" for fault in found]


def tab_to(page: Page, selector: str, *, most: int = 60) -> None:
    """Press Tab until the element has the focus: it can be reached by keyboard, and nothing on the way is a trap."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            assert page.evaluate(
                """() => {
                    const box = document.activeElement.getBoundingClientRect();
                    const bar = document.getElementById("comment-bar");
                    const free = bar.hidden || bar.contains(document.activeElement);
                    const edge = free ? innerHeight : bar.getBoundingClientRect().top;
                    return box.top < edge && box.bottom > 0;
                }"""
            ), f"{selector} has the focus where it cannot be seen"
            return
    pytest.fail(f"{selector} was not reached in {most} steps of Tab")


def status(page: Page, words: str, place: str = "#comment-status") -> None:
    page.wait_for_function("([place, words]) => document.querySelector(place).textContent.includes(words)",
                           arg=[place, words], timeout=3000)  # fmt: skip


def write_one(page: Page, block: str, words: str) -> None:
    """A comment by pointer, for the tests that are about something else."""
    page.locator(f"#{block} + .comment-button").click()
    page.get_by_label("This is wrong").check()
    page.get_by_label("In your own words").fill(words)
    page.get_by_role("button", name="Keep this comment").click()


def test_a_comment_is_written_and_saved_by_keyboard_alone_and_read_back(browser, page_file, tmp_path):
    with opened(browser, page_file, SIZES[0], accept_downloads=True) as page:
        tab_to(page, "#comment-switch")
        page.keyboard.press("Enter")
        status(page, "Comment mode is on")
        tab_to(page, "#part-after")
        for _ in range(5):
            page.keyboard.press("Enter")
            if page.evaluate("document.querySelector('.chosen-part').textContent.includes('First words')"):
                break
        status(page, "Part 5 of")
        assert "First words of it" in page.inner_text("#comment-status")
        tab_to(page, "#part-comment")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.name") == "kind"
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        tab_to(page, "#comment-text", most=2)
        page.keyboard.type(HOSTILE)
        tab_to(page, "[name=consent]", most=1)
        page.keyboard.press("Space")
        tab_to(page, "[type=submit]", most=1)
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "part-comment"
        status(page, "1 so far")
        tab_to(page, "#to-comments")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "your-comments-title"
        tab_to(page, "#your-name")
        page.keyboard.type("Reader A")
        tab_to(page, "#your-role", most=1)
        page.keyboard.press("ArrowDown")
        tab_to(page, "#save-comments", most=1)
        with page.expect_download() as caught:
            page.keyboard.press("Enter")
        status(page, "give that file to the person who gave you this report", "#save-status")
        assert caught.value.suggested_filename == "comments-peer-version-2.html"
        caught.value.save_as(tmp_path / "saved.html")
        assert page.title() == "A report"
    parsed = read_html("saved.html", (tmp_path / "saved.html").read_bytes())
    assert parsed.faults == ()
    (comment,) = parsed.comments
    assert (comment.report, comment.version, comment.block) == ("peer", 2, "text-lead-1")
    assert (comment.kind, comment.text, comment.name) == ("wrong", HOSTILE, "Reader A")
    assert (comment.reader, comment.consent) == ("peer", True)
    assert comment.quote.startswith("First words of it")
    assert b"<img" not in (tmp_path / "saved.html").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_no_fault_of_accessibility_in_any_state(browser, page_file, size):
    with opened(browser, page_file, size, accept_downloads=True) as page:
        found = {"off": violations(page)}
        page.get_by_role("button", name="Comment mode: off").click()
        status(page, "on")
        found["on"] = violations(page)
        page.locator("#text-lead-2 + .comment-button").click()
        page.get_by_role("button", name="Keep this comment").click()
        assert "Choose one" in page.inner_text("#comment-problem")
        found["problem"] = violations(page)
        page.get_by_label("I agree").check()
        page.get_by_role("button", name="Keep this comment").click()
        page.locator("#save-comments").click()
        status(page, "Downloads", "#save-status")
        found["saved"] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert found == {state: [] for state in found}


def test_comment_mode_adds_few_stops_of_the_tab_key(browser, page_file):
    count = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex]")]
        .filter((e) => e.tabIndex >= 0 && e.checkVisibility()).length"""
    with opened(browser, page_file) as page:
        before = page.evaluate(count)
        page.click("#comment-switch")
        assert page.locator(".comment-button:visible").count() > PARTS
        assert page.evaluate(count) == before + 5 + 1  # the bar, and the button of the chosen part
        button = page.locator("#text-long-1 + .comment-button")
        button.focus()
        button.press("ArrowDown")
        assert page.evaluate("document.activeElement.previousElementSibling.id") == "text-long-2"
        status(page, "Part")


def test_escape_closes_the_form_gives_the_focus_back_and_holds_the_words(browser, page_file):
    with opened(browser, page_file) as page:
        page.click("#comment-switch")
        page.locator("#text-lead-1 + .comment-button").click()
        page.get_by_label("In your own words").fill("half a thought")
        page.keyboard.press("Escape")
        assert page.locator("form.comment-form").count() == 0
        assert page.evaluate("document.activeElement.previousElementSibling.id") == "text-lead-1"
        status(page, "Your words are still here")
        page.locator("#text-lead-2 + .comment-button").click()
        page.locator("#text-lead-1 + .comment-button").click()
        assert page.locator("form.comment-form").count() == 1
        assert page.get_by_label("In your own words").input_value() == "half a thought"
        page.get_by_label("In your own words").fill("")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Stop").click()
        assert page.evaluate("document.activeElement.id") == "comment-switch"
        assert page.locator(".comment-button:visible").count() == 0


def test_nothing_can_be_sent_run_or_stored(browser, page_file):
    context = browser.new_context()
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert (
        page.evaluate("""() => new Promise((done) => {
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("https://example.org/").catch(() => {});
    })""")
        == "connect-src"
    )
    assert page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        return document.title;
    }""") == "A report"  # fmt: skip
    page.click("#comment-switch")
    write_one(page, "text-lead-1", "Not stored.")
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    context.close()


def test_without_scripts_the_page_reads_as_before_and_says_how_to_comment(browser, page_file):
    with opened(browser, page_file, java_script_enabled=False) as page:
        assert page.locator("button:visible").count() == 0
        assert page.locator("form:visible, input:visible").count() == 0
        assert page.locator("noscript p").is_visible()
        assert page.get_by_text("peer_comments.csv").is_visible()
        assert page.locator("#text-lead-1").is_visible()
        page.locator("summary").click()
        assert page.get_by_role("link", name="First words of it").is_visible()


def test_by_touch_targets_are_large_enough_and_in_reach(browser, page_file):
    with opened(browser, page_file, SIZES[0], has_touch=True, is_mobile=True) as page:
        page.locator("#comment-switch").tap()
        small = page.evaluate("""() => [...document.querySelectorAll("button")].filter((b) => b.checkVisibility())
            .map((b) => b.getBoundingClientRect()).filter((box) => box.height < 24 || box.width < 24).length""")
        assert small == 0
        page.locator("#fig-a > .comment-button").tap()
        page.get_by_text("Something is missing", exact=True).tap()
        page.get_by_label("In your own words").tap()
        page.keyboard.type("The years before.")
        page.get_by_role("button", name="Keep this comment").tap()
        assert page.inner_text("#fig-a > .comment-button").startswith("Comment (1)")
        page.get_by_role("button", name="Your comments (1)").tap()
        assert page.get_by_text("The years before.").is_visible()


def test_what_a_reader_prefers_is_kept_to(browser, page_file):
    with opened(browser, page_file, forced_colors="active") as page:
        page.click("#comment-switch")
        assert page.evaluate("document.getAnimations().length") == 0
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        outline = "getComputedStyle(document.querySelector('.chosen-part')).outlineStyle"
        assert page.evaluate(outline) == "dashed"
        assert page.evaluate("getComputedStyle(document.querySelector('.comment-button')).borderStyle") == "solid"
        page.emulate_media(media="print")
        assert page.locator("button:visible").count() == 0
        assert page.get_by_text("A form for your comment").is_visible()


def test_leaving_with_comments_that_are_not_saved_is_warned_of_and_a_saved_file_can_be_gone_on_from(
    browser, page_file, tmp_path
):
    with opened(browser, page_file, accept_downloads=True) as page:
        asked: list[str] = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        page.click("#comment-switch")
        page.reload()
        assert asked == []
        page.click("#comment-switch")
        write_one(page, "text-lead-1", "One.")
        write_one(page, "text-lead-2", "Two.")
        page.reload()
        assert asked == ["beforeunload"]
        assert page.locator("#comment-list li").count() == 0
        page.click("#comment-switch")
        write_one(page, "text-lead-1", "One.")
        write_one(page, "text-lead-2", "Two.")
        with page.expect_download() as caught:
            page.locator("#save-comments").click()
        caught.value.save_as(tmp_path / "saved.html")
        page.reload()
        assert asked == ["beforeunload"]
        page.locator("#open-comments").set_input_files(tmp_path / "saved.html")
        status(page, "2 comments are back", "#save-status")
        page.get_by_role("button", name="Remove comment 1").click()
        assert page.locator("#comment-list li").all_inner_texts()[0].count("Two.") == 1
        page.get_by_role("button", name="Change comment 1").click()
        assert page.get_by_label("In your own words").input_value() == "Two."
        page.get_by_label("In your own words").fill("Three.")
        page.get_by_role("button", name="Keep this comment").click()
        assert "Three." in page.locator("#comment-list li").all_inner_texts()[0]
        page.locator("#open-comments").set_input_files(page_file)
        status(page, "holds no comments", "#save-status")
