"""A report on a release that was guarded beside an earlier one says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from evalkit.disclose import Release
from evalkit.report import academic_end, peer_limits
from tests.report_factory import make_release


@dataclass
class Beside:
    """A release whose manifest says more."""

    release: Release
    more: dict[str, Any]

    def __getattr__(self, name: str) -> object:
        return getattr(self.release, name)

    @property
    def manifest(self) -> dict[str, Any]:
        return self.release.manifest | self.more


def told(monkeypatch: pytest.MonkeyPatch, module: Any, show: Callable, release: object) -> str:
    seen: list[str] = []
    monkeypatch.setattr(module, "show_text", lambda text, *, id: seen.append(text))
    monkeypatch.setattr(module, "show_table", lambda *_, **__: None)
    if hasattr(module, "show_figure"):
        monkeypatch.setattr(module, "show_figure", lambda *_, **__: None)
    show(release)
    return json.dumps(seen)


@pytest.mark.parametrize(("module", "show", "words"), [
    (academic_end, "show_disclosure", "2 numbers are shown as they were there"),
    (peer_limits, "show_missing", "the same as in the last report"),
])  # fmt: skip
def test_numbers_kept_from_an_earlier_release_are_told_and_only_then(
    monkeypatch: pytest.MonkeyPatch, module: Any, show: str, words: str
) -> None:
    alone = make_release("benefit")
    earlier = {"earlier": {"manifest": "0" * 64, "data": "other", "kept": ["a", "b"]}}
    assert words in told(monkeypatch, module, getattr(module, show), Beside(alone, earlier))
    assert words not in told(monkeypatch, module, getattr(module, show), alone)
