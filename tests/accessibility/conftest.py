"""The reports as the notebooks of this checkout make them, each rendered once, and one browser for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from evalkit.report.render import render_report
from evalkit.report.variants import render_variants
from tests.browser import open_browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the peer report and its variants."""
    folder = tmp_path_factory.mktemp("peer")
    executed = ROOT / "notebooks" / "peer_report.ipynb"
    render_report(executed, folder / "peer", title="Peer report")
    render_variants(executed, folder, title="Peer report")
    return folder


@pytest.fixture(scope="session")
def academic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the academic report."""
    folder = tmp_path_factory.mktemp("academic")
    render_report(ROOT / "notebooks" / "academic_report.ipynb", folder / "academic", title="Academic report")
    return folder
