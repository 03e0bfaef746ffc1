"""The peer notebook run in this process on a release made for a test: its cells in order, with what they show."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from matplotlib.figure import Figure

from evalkit.disclose import Release
from evalkit.report import display, figures, figures_budget, figures_risk
from evalkit.review.record import Review
from tests.report_factory import ROOT

NOTEBOOK = ROOT / "notebooks" / "peer_report.ipynb"
_GIVEN = ("source =", "record =", "from evalkit.review.load")


def run_peer_notebook(
    release: Release, review: Review, monkeypatch: pytest.MonkeyPatch, *, pictures: bool = True
) -> list[dict[str, Any]]:
    """Cells in the form of an executed notebook. Without `pictures` none is drawn; alt texts are made all the same."""
    seen: list[dict[str, Any]] = []

    def keep(data: dict, *, raw: bool, metadata: dict) -> None:
        seen.append({"output_type": "display_data", "data": data, "metadata": metadata})

    monkeypatch.setattr(display, "display", keep)
    if not pictures:
        monkeypatch.setattr(display, "_png", lambda _: b"")
        for module in (figures, figures_budget, figures_risk):
            for name in [n for n in dir(module) if n.startswith("plot_")]:
                monkeypatch.setattr(module, name, lambda *_, **__: Figure(figsize=(1, 1)))
    names: dict[str, Any] = {"source": release, "record": review}
    cells = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        seen.clear()
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            lines = [line for line in cell.source.splitlines() if not line.startswith(_GIVEN)]
            exec("\n".join(lines), names)  # the repository's own notebook
        cells.append({"id": cell.id, "cell_type": cell.cell_type, "source": cell.source, "outputs": list(seen)})
    return cells
