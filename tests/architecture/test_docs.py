"""What the documents say is there, is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evalkit.data import data_dictionary_markdown

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http", "mailto")):
            assert (path.parent / target).exists(), target


def test_every_test_and_module_that_the_methods_page_names_is_there():
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert named
    assert all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize("copy", ["docs/data_dictionary.md", "data/synthetic/ipsa/DATA_DICTIONARY.md"])
def test_the_data_dictionary_is_the_contracts(copy):
    assert (ROOT / copy).read_text(encoding="utf-8").strip() == data_dictionary_markdown().strip()
