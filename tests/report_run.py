"""A report notebook run in this process on a release, and its words: a kernel for each would take too long."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import nbformat

from evalkit.report import display
from tests.plain_language import ReportText, read_report_text

ROOT = Path(__file__).parents[1]
NO_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
Pictures = Literal["drawn", "left_out"]


def run_report(
    release: Path, *, notebook: str = "peer_report", reviews: Path | None = None, pictures: Pictures = "left_out"
) -> nbformat.NotebookNode:
    """The notebook with the outputs that its cells show on this release."""
    executed = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    names: dict[str, Any] = {}
    given = {"release": str(release), "reviews": str(reviews or ROOT / "reviews" / "none")}
    with _recorded(pictures) as shown:
        for place, cell in enumerate(c for c in executed.cells if c.cell_type == "code"):
            shown.clear()
            exec(compile(cell.source, f"{notebook} {cell.get('id', place)}", "exec"), names)
            if place == 0:
                names |= {name: value for name, value in given.items() if name in names}
            cell.outputs = list(shown)
    return executed


def read_words(release: Path) -> ReportText:
    """The words of the peer report on this release."""
    return read_report_text(run_report(release).cells)


@contextmanager
def _recorded(pictures: Pictures) -> Iterator[list[nbformat.NotebookNode]]:
    """What is displayed meanwhile, as a notebook keeps it."""
    shown: list[nbformat.NotebookNode] = []

    def record(data: dict[str, str], *, raw: bool, metadata: dict[str, Any]) -> None:
        assert raw
        shown.append(nbformat.v4.new_output("display_data", data=data, metadata=metadata))

    before = display.display, display._png
    display.display = record
    if pictures == "left_out":
        display._png = lambda _: NO_PICTURE
    try:
        yield shown
    finally:
        display.display, display._png = before
