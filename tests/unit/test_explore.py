"""The interactive page: every answer is there, follows from released numbers alone, and fits the way it falls."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evalkit.analysis.chosen import estimate_chosen
from evalkit.analysis.study import Study
from evalkit.core.errors import OutputError
from evalkit.core.result import Results
from evalkit.data import open_tables
from evalkit.disclose import Release, load_release, policy, release
from evalkit.report.explore import address, build_page, render_explore
from evalkit.report.explore_data import Array, Pair, Topic
from evalkit.report.explore_svg import describe_array, draw_array
from evalkit.report.explore_topics import build_topics
from tests.chosen_people import chosen_protocol, draw_people
from tests.plain_language import measure_plain_language, split_sentences, words_of
from tests.report_factory import PROVENANCE, ROOT, make_release

TITLE = "IPSA"
WORLDS = ("none", "harm", "thin")


class Reader(HTMLParser):
    """What a page holds: texts of each article, the table rows with their sources, all ids, attributes that fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.rows: list[tuple[str, str, float]] = []
        self.fetched: list[tuple[str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.article = ""
        self.parts: list[str] = []
        self.counted: list[str] = []
        self._class: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
        self.fetched += [(tag, value) for name, value in attrs if name in ("src", "href", "action", "style")]
        if tag == "article":
            self.article = given["id"]
            self.texts[self.article] = []
        if "data-number" in given:
            self.rows.append((self.article, given["data-number"], float(given["data-value"])))
        if tag not in ("meta", "path", "rect", "circle", "line", "option"):
            self._class.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self.article = ""
        if self._class and self._class[-1] == tag:
            self._class.pop()

    def handle_data(self, data: str) -> None:
        if self.article and data.strip():
            self.texts[self.article].append(data.strip())
        elif data.strip() and not {"script", "style"} & set(self._class):
            self.parts.append(data.strip())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def source() -> Release:
    return load_release(ROOT / "reports" / "ipsa")


@pytest.fixture(scope="module")
def page(source) -> str:
    return build_page(source, title=TITLE)


@pytest.fixture(scope="module")
def topics(source) -> tuple[Topic, ...]:
    return build_topics(source)


@pytest.fixture(scope="module")
def worlds() -> dict[str, tuple[Topic, ...]]:
    return {world: build_topics(make_release(world)) for world in WORLDS}


# ---- everything is there ------------------------------------------------------------------------


def test_every_choice_has_its_answer(page):
    reader = read(page)
    offered = [
        when["id"]
        for topic in json.loads(re.search(r'id="choices">(.*?)</script>', page).group(1))
        for who in topic["whos"] for when in who["whens"]
    ]  # fmt: skip
    assert len(reader.ids) == len(set(reader.ids))
    assert offered == list(reader.texts)
    assert len(offered) > 150
    for link in re.findall(r'href="#([^"]+)"', page):
        assert link in reader.ids


def test_harms_are_offered_as_benefits_are(topics):
    groups = list(dict.fromkeys(t.group for t in topics))
    assert groups.index("harms") < groups.index("homes")
    harms = {t.key for t in topics if t.group == "harms"}
    assert {"deaths", "out-of-area-rehab", "acute-ward-days", "supported-living-entry", "days-unsettled"} <= harms
    deaths = next(t for t in topics if t.key == "deaths")
    assert deaths.note
    assert deaths.answers["side-by-side", "study"].standing == "seen"


def test_what_is_held_back_can_be_chosen_and_says_why(topics, page):
    silent = [a for t in topics for a in t.answers.values() if a.standing not in ("effect", "seen")]
    assert {a.standing for a in silent} == {"not_released", "cannot_tell", "not_asked"}
    for answer in silent:
        assert len(answer.sentences) >= 2
        assert answer.limits
        assert not answer.rows
        assert answer.pair is None
        assert not re.search(r"\d", " ".join(answer.sentences))
    labels = re.search(r'id="choices">(.*?)</script>', page).group(1)
    for words in (": not released", ": could not be worked out", ": not asked"):
        assert words in labels


def test_each_answer_with_a_number_says_what_it_cannot_tell(topics):
    for topic in topics:
        for answer in topic.answers.values():
            assert answer.limits, (topic.key, answer.when)
            if answer.standing == "effect":
                assert answer.certainty
                assert answer.sure


# ---- numbers ------------------------------------------------------------------------------------


def test_every_number_of_the_tables_is_a_released_number(source, page):
    released = source.results.frame.set_index("id")
    rows = read(page).rows
    assert len(rows) > 400
    for _, name, value in rows:
        assert released.loc[name, "status"] == "shown"
        assert value == pytest.approx(released.loc[name, "value"], rel=1e-8)


def test_every_number_of_an_answer_can_be_had_from_its_released_rows(source, topics):
    released = source.results.frame.set_index("id")
    wrong = []
    for topic in topics:
        for (who, when), answer in topic.answers.items():
            allowed = _allowed(released, [row.id for row in answer.rows if row.id])
            told = [*answer.sentences, answer.worst, *(a.words for a in (answer.pair.arrays if answer.pair else ()))]
            told += [*(answer.span.words if answer.span else ()), *answer.weak]
            told += [f"{row.number} {row.spread}" for row in answer.rows]
            names = " ".join([answer.who, answer.when, *(row.what for row in answer.rows)])
            for number in _numbers(" ".join(told)):
                if number not in allowed and number not in _numbers(names):
                    wrong.append((address(topic, who, when), number))
    assert wrong == []


def _numbers(text: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text)]


def _allowed(released, names: list[str]) -> set[float]:
    """What rounding makes of the released values, of their ranges, and of one less another."""
    rows = [released.loc[name] for name in names]
    values = [float(row[c]) for row in rows for c in ("value", "lower", "upper") if math.isfinite(row[c])]
    percents = [row["value"] / 100 for row in rows if row["kind"] == "percent"]
    values += [min(max(seen - v, 0), 1) for seen in percents for v in values]
    values += [min(max(a - b, 0), 365) for a in values for b in values]
    counts = [row for row in rows if row["kind"] == "count"]
    for row in counts:
        people = released.loc[f"{row['table']}/{row['row']}/people", "value"]
        values.append(row["value"] / people)
    allowed = {1.0, 10.0, 100.0, 1000.0, 365.0, 3.0, 2.0, 5.0} | {row["n_people"] for row in rows}
    for value in map(abs, values):
        for scale in (0.01, 0.1, 1, 10, 100, 1000):
            allowed |= {round(value * scale, digits) for digits in (0, 1, 2, 3)}
        allowed |= {float(step * round(value / step)) for step in (10, 100)}
    return allowed


def test_the_check_of_numbers_finds_one_that_was_not_released(source):
    released = source.results.frame.set_index("id")
    name = "readmission_counts/Lambeth|after/readmitted_30d_percent"
    allowed = _allowed(released, [name])
    assert 9.0 in allowed
    assert 27.0 not in allowed


def test_the_same_release_gives_the_same_bytes(source, page, tmp_path):
    written = render_explore(source, tmp_path / "peer_explore.html", title=TITLE)
    assert written.read_text(encoding="utf-8") == page
    assert [p.name for p in tmp_path.iterdir()] == ["peer_explore.html"]


def test_a_page_that_cannot_be_written_leaves_nothing_behind(source, tmp_path):
    (tmp_path / "page").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        render_explore(source, tmp_path / "page", title=TITLE)
    with pytest.raises(OutputError, match="cannot be written"):
        render_explore(source, tmp_path / "missing" / "page.html", title=TITLE)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["page"]


def test_the_page_asks_for_nothing(page):
    fetched = {value for _, value in read(page).fetched}
    assert all(value.startswith("#") for value in fetched)
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    for word in ("localStorage", "sessionStorage", "document.cookie", "indexedDB", "fetch(", "XMLHttpRequest"):
        assert word not in page


# ---- words --------------------------------------------------------------------------------------


def test_words_follow_the_world(worlds, topics):
    def answer(world: str, topic: str, who: str = "with-and-without", when: str = "all"):
        return next(t for t in worlds[world] if t.key == topic).answers[who, when]

    entry = next(t for t in topics if t.key == "residential-entry")
    assert "better" in " ".join(entry.answers["with-and-without", "all"].sure)
    harm = answer("harm", "residential-entry")
    assert "worse" in " ".join(harm.sure)
    assert "How bad it could be" in harm.worst
    assert "cannot rule out" in answer("thin", "residential-entry").worst
    for world in ("none", "thin"):
        unsure = answer(world, "residential-entry")
        assert unsure.certainty == "too_uncertain"
        assert "cannot tell" in " ".join(unsure.sure)
    assert not any("better" in s for t in worlds["thin"] for a in t.answers.values() for s in a.sure)
    thin = [a.standing for t in worlds["thin"] for a in t.answers.values()]
    assert thin.count("not_released") > [a.standing for t in worlds["none"] for a in t.answers.values()].count(
        "not_released"
    )


@pytest.mark.parametrize("drop", [("effects", "trend"), ("readmission", "cost", "event_study", "description")])
def test_a_release_that_lacks_tables_still_makes_a_page(drop):
    source = make_release(drop=drop)
    reader = read(build_page(source, title=TITLE))
    assert reader.texts
    if "effects" in drop:
        assert any("not ask this" in " ".join(text) for text in reader.texts.values())


def test_sentences_are_short_and_words_are_wanted(page, worlds, source):
    lines = [
        line
        for topics in (*worlds.values(), build_topics(source)) for t in topics for a in t.answers.values()
        for line in (t.label, t.note, *a.sentences, *a.sure, *a.weak, a.worst, *a.limits)
    ]  # fmt: skip
    of_the_plan = source.protocol.study.plain_question
    lines = [line for line in dict.fromkeys([*read(page).parts, *lines]) if line != of_the_plan]
    long = {s for line in lines for s in split_sentences(line) if len(words_of(s)) > 20}
    assert long == set()
    measured = measure_plain_language("\n".join(lines))
    assert measured.banned == ()
    assert measured.reading_age <= 11, measured.describe()


# ---- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("full", "best", "maybe", "none"), [(9, 0, 0, 91), (0, 10, 10, 80), (21, 3, 17, 959), (6, 2, 3, 0)]
)
def test_an_array_draws_each_mark_as_often_as_it_says(full, best, maybe, none):
    array = Array("With", "words", full, best, maybe, none)
    pair = Pair((array,), "went back", "did not")
    drawn = {"full": 0.0, "best": 0.0, "maybe": 0.0, "none": 0.0}
    for width, height, mark in re.findall(
        r'width="(\d+)" height="(\d+)" fill="url\(#mark-(\w+)\)', draw_array(array, pair)
    ):
        drawn[mark] += int(width) * int(height) / 4
    assert drawn == {"full": full, "best": best, "maybe": maybe, "none": none}
    assert f"Picture of {full + best + maybe + none:,}" in describe_array(array, pair)


def test_pairs_have_one_denominator(topics):
    for topic in topics:
        for answer in topic.answers.values():
            if answer.pair and any(a.none for a in answer.pair.arrays):
                assert len({a.whole for a in answer.pair.arrays}) == 1, (topic.key, answer.who, answer.when)


# ---- what people chose --------------------------------------------------------------------------


def test_what_people_chose_is_shown_and_what_is_not_recorded_says_so(tmp_path):
    folder = draw_people(tmp_path, np.random.default_rng(4), treated=90, others=150, effect=0.4, unasked=0.15)
    study = Study(chosen_protocol(), open_tables(folder))
    results = Results.concat(estimate_chosen(study))
    source = release(results, policy=policy("strict"), protocol=study.protocol, provenance=PROVENANCE)
    chosen = {t.key: next(iter(t.answers.values())) for t in build_topics(source) if t.group == "chosen"}
    work, choice = chosen["chosen-work"], chosen["chosen-choice"]
    assert work.standing == "effect"
    assert len(work.pair.arrays) == 4
    assert "missing" in " ".join(work.weak)
    assert choice.standing == "cannot_tell"
    assert "not recorded" in " ".join(choice.sentences)


def test_simulated_records_are_said_to_be_so(page):
    assert '<p class="banner">Simulated records' in page
