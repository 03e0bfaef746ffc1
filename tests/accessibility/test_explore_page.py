"""The interactive page in a real browser: by keyboard, as a screen reader meets it, on a phone, on paper, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from evalkit.disclose import load_release
from evalkit.report.explore import render_explore
from tests.page_checks import find_overflow, find_unreached, find_violations

ROOT = Path(__file__).parents[2]
# One answer of each kind: worked out, side by side with a line, not released, not asked, a large array, deaths.
ANSWERS = (
    "going-back.with-and-without.90-days",
    "rehab-ward-days.side-by-side.all",
    "residential-entry.with-and-without.year-3",
    "going-back.female.30-days",
    "out-of-area-rehab.side-by-side.2014-15",
    "deaths.side-by-side.study",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = load_release(ROOT / "reports" / "ipsa")
    return render_explore(source, tmp_path_factory.mktemp("explore") / "peer_explore.html", title="IPSA")


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    opened = chromium.new_page()
    opened.troubles = []
    opened.on("console", lambda message: opened.troubles.append(message.text))
    opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
    yield opened
    opened.close()


def go(page: Page, path: Path, answer: str = "", *, width: int = 1024, media: str = "screen") -> None:
    page.emulate_media(media=media, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("about:blank")
    page.goto(f"{path.as_uri()}{f'#{answer}' if answer else ''}")


def seen(page: Page) -> list[str]:
    return page.eval_on_selector_all("#answers article", "all => all.filter(a => a.checkVisibility()).map(a => a.id)")


@pytest.mark.parametrize(("width", "media"), [(320, "screen"), (1024, "screen"), (1024, "print")])
def test_axe_finds_nothing_and_nothing_runs_over_the_side(page, path, width, media):
    for answer in ANSWERS if media == "screen" else ANSWERS[:2]:
        go(page, path, answer, width=width, media=media)
        assert seen(page) == [answer]
        # What is hidden is not judged, but takes most of the time.
        page.evaluate("document.querySelectorAll('#answers [hidden]').forEach(e => e.remove())")
        assert find_violations(page) == [], answer
        assert find_overflow(page) == [], answer
    assert page.troubles == []


def test_the_question_comes_first_and_one_answer_is_there_at_once(page, path):
    go(page, path)
    assert page.locator("h1").inner_text() == "What do you want to look at?"
    assert len(seen(page)) == 1
    for label in ("What happened", "For whom, or where", "When"):
        assert page.get_by_label(label).is_visible()
    assert not page.locator("#contents").is_visible()


def test_the_keyboard_alone_changes_the_answer_and_a_screen_reader_hears_it(page, path):
    go(page, path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for name in ("topic", "who", "when"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
    assert page.locator("#status").inner_text() == ""
    page.keyboard.press("ArrowDown")
    assert seen(page) == ["going-back.with-and-without.90-days"]
    assert page.evaluate("document.activeElement.id") == "when"
    status = page.locator("#status")
    assert status.get_attribute("aria-live") == "polite"
    assert "Within 3 months" in status.inner_text()
    assert page.locator("article:not([hidden]) .said p").first.inner_text() in status.inner_text()
    assert page.url.endswith("#going-back.with-and-without.90-days")


def test_everything_on_the_page_is_reached_by_keyboard_and_shows_that_it_is(page, path):
    go(page, path, width=320)
    assert find_unreached(page) == []


def test_every_choice_in_the_lists_shows_its_own_answer(page, path):
    go(page, path)
    wrong = page.evaluate(
        """() => {
          const wrong = [];
          for (const topic of JSON.parse(document.getElementById('choices').textContent))
            for (const who of topic.whos) for (const when of who.whens) {
              for (const [id, key] of [['topic', topic.key], ['who', who.key], ['when', when.key]]) {
                const list = document.getElementById(id);
                list.value = key;
                list.dispatchEvent(new Event('change'));
              }
              const shown = [...document.querySelectorAll('#answers article')].filter(a => !a.hidden);
              const told = document.getElementById('status').textContent;
              if (shown.length !== 1 || shown[0].id !== when.id || !told.includes(topic.label)) wrong.push(when.id);
            }
          return wrong;
        }"""
    )
    assert wrong == []


def test_a_link_opens_its_answer_and_can_be_copied(page, path):
    go(page, path, "deaths.side-by-side.study")
    assert seen(page) == ["deaths.side-by-side.study"]
    assert page.get_by_label("What happened").input_value() == "deaths"
    assert "about deaths" in page.locator("article:not([hidden]) .note").inner_text()
    page.evaluate("document.addEventListener('copy', () => { window.copied = document.getSelection().toString() })")
    page.locator("article:not([hidden]) .copy").click()
    assert page.evaluate("window.copied") == "peer_explore.html#deaths.side-by-side.study"
    assert page.locator("#status").inner_text() == "The link is copied."
    page.evaluate("location.hash = '#going-back.female.365-days'")
    page.wait_for_function("document.getElementById('who').value === 'female'")
    assert seen(page) == ["going-back.female.365-days"]


def test_a_link_that_names_no_answer_says_so(page, path):
    go(page, path, "nothing.of-the.kind")
    assert page.locator("#unknown").is_visible()
    assert len(seen(page)) == 1
    go(page, path, "<img src=x onerror=alert(1)>")
    assert page.locator("#unknown").is_visible()
    assert page.locator("img").count() == 0


def test_what_was_held_back_can_be_chosen_and_says_so(page, path):
    go(page, path, "residential-entry.with-and-without.year-3")
    assert "not released" in page.locator("#when option:checked").inner_text()
    assert "This number is not released." in page.locator("article:not([hidden]) .said").inner_text()
    assert "Too few people" in page.locator("article:not([hidden]) .said").inner_text()


def test_the_table_holds_the_numbers_and_is_open_on_paper(page, path):
    go(page, path, ANSWERS[0])
    table = page.locator("article:not([hidden]) table")
    assert not table.is_visible()
    page.locator("article:not([hidden]) summary").click()
    assert table.is_visible()
    assert "out of 100" in table.inner_text()
    go(page, path, ANSWERS[0])
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("article:not([hidden]) table").is_visible()
    assert not page.locator("#chooser").is_visible()
    assert page.get_by_text("Simulated records").first.is_visible()


def test_all_answers_can_be_shown_below_each_other(page, path):
    go(page, path)
    page.get_by_role("button", name="Show all answers").click()
    assert len(seen(page)) > 150
    assert page.locator("#all").get_attribute("aria-pressed") == "true"
    page.locator("#all").click()
    assert len(seen(page)) == 1


def test_nothing_is_sent_fetched_or_kept(chromium, path):
    context = chromium.new_context()
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.get_by_label("What happened").select_option("deaths")
    refused = page.evaluate(
        "() => fetch('https://example.org/').then(() => 'sent', () => 'refused')"
    )  # the page's own policy forbids it, whoever tries
    assert refused == "refused"
    assert [url.split("#")[0] for url in asked] == [path.as_uri()]
    assert context.cookies() == []
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    context.close()


def test_without_scripts_everything_is_there_as_text(chromium, path):
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 320, "height": 800})
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#contents a").count() > 20
    assert not page.locator("#chooser").is_visible()
    assert not page.locator("button").first.is_visible()
    shown = page.locator("#answers article")
    assert shown.count() > 150
    assert shown.first.is_visible()
    assert shown.last.is_visible()
    assert page.locator("#answers table").first.is_visible()
    context.close()
