"""The comparison of notebooks with their stored outputs sees a changed number, and only that."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

REPOSITORY = Path(__file__).parents[2]
SANITIZE = Path(__file__).with_name("sanitize.cfg")
CHANGES = """\
import datetime, hashlib, tempfile
now = str(datetime.datetime.now())
digest = hashlib.sha256(now.encode()).hexdigest()
print(now[11:], digest, "a" + digest[:11])  # one digest of twelve in 300 has no letter, and is a number then
print(tempfile.mkdtemp(dir="/tmp"))
object()"""
PICTURE = """\
import numpy as np
import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(1, 1))
ax.plot(np.random.default_rng().normal(size=5))
plt.show()"""
NUMBER = "print('risk 0.214')"


@pytest.mark.slow
def test_a_changed_number_is_seen_and_what_may_change_is_not(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in (CHANGES, PICTURE, NUMBER)])
    NotebookClient(notebook, kernel_name="python3").execute()
    nbformat.write(notebook, tmp_path / "same.ipynb")
    notebook.cells[2].outputs[0].text = "risk 0.215\n"
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(SANITIZE),
         "-q", "-rA", "--color=no", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    found = re.findall(r"(?m)^(PASSED|FAILED) (?:.*/)?(\w+\.ipynb::Cell \d)", done.stdout)
    outcomes = sorted(" ".join(pair) for pair in found)
    assert outcomes == [
        "FAILED changed.ipynb::Cell 2",
        "PASSED changed.ipynb::Cell 0", "PASSED changed.ipynb::Cell 1",
        "PASSED same.ipynb::Cell 0", "PASSED same.ipynb::Cell 1", "PASSED same.ipynb::Cell 2",
    ], done.stdout  # fmt: skip


def test_every_pattern_has_its_replacement() -> None:
    lines = SANITIZE.read_text().splitlines()
    patterns = [i for i, line in enumerate(lines) if line.startswith("regex: ")]
    assert patterns
    assert all(lines[i + 1].startswith("replace: ") for i in patterns)
