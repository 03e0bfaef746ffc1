"""Data sets of others with published results, where the folder beside the checkout is present."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

_DATASETS = Path(__file__).resolve().parents[2] / "shared" / "reference" / "datasets"


def shared(name: str) -> Path:
    """The folder of one data set; the test is skipped, and says so, where it is not at hand."""
    folder = _DATASETS / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not beside this checkout (../shared/reference/datasets)")
    return folder


def reference(name: str) -> dict[str, float]:
    """R's numbers of one data set by name, empty where the folder is absent (so that tests can be parametrised)."""
    path = _DATASETS / name / "reference.json"
    return json.loads(path.read_text()) if path.is_file() else {}
