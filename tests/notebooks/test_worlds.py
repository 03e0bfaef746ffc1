"""The peer report says the right thing in plain words, whichever way the result falls: benefit, none, harm, too few."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from tests.plain_language import ReportText, measure_plain_language, read_report_text
from tests.report_run import ROOT, read_words

WORLDS = ("none", "harm", "little")


def folder_of(world: str) -> Path:
    return ROOT / "reports" / "worlds" / world


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> tuple[str, ReportText]:
    return request.param, read_words(folder_of(request.param))


@pytest.mark.slow
def test_the_words_are_plain_in_every_world(world):
    name, text = world
    assert len(text.prose.split()) > 2000, name
    measured = measure_plain_language(text.whole)
    assert measured.plain, f"{name}: {measured.describe()}"
    assert measure_plain_language(text.alt).banned == (), name


def test_the_words_of_the_default_report_are_plain():
    text = read_report_text(nbformat.read(ROOT / "notebooks" / "peer_report.ipynb", as_version=4).cells)
    measured = measure_plain_language(text.whole)
    assert measured.plain, measured.describe()


@pytest.mark.slow
def test_each_world_is_told_for_what_it_is(world):
    """Of what the settings made happen: no world is told as its opposite."""
    name, text = world
    summary = text.prose.split("\n## ")[1]
    strong = ("strong evidence of", "it is likely")
    if name == "none":
        assert not any(words in summary.lower() for words in strong)
        assert "cannot tell" in summary.lower()
    if name == "harm":
        assert "worse" in summary.lower()
        assert "care home" in summary.lower()
    if name == "little":
        assert not any(words in summary.lower() for words in (*strong, "the figures suggest"))


def test_the_kept_releases_are_of_the_worlds_that_they_are_named_after():
    """Nobody's numbers stand twice: each manifest has its own data, and all have one protocol."""
    manifests = {name: json.loads((folder_of(name) / "manifest.json").read_text()) for name in WORLDS}
    assert len({m["data_digest"] for m in manifests.values()}) == len(WORLDS)
    assert {path.name for name in WORLDS for path in folder_of(name).iterdir()} == {
        "results.parquet", "manifest.json", "peer.txt",
    }  # fmt: skip
