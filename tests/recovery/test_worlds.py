"""A small run of `benchmarks/recovery.py`: worlds of the default kind, analysed as the notebooks do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.effects import estimate_all
from evalkit.analysis.study import open_study

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from recovery import run_world, summarise  # noqa: E402

SETTINGS = str(ROOT / "data/synthetic/settings/ipsa.toml")
PROTOCOL = str(ROOT / "protocols/ipsa.toml")
FOOLED = ("residential_entry.rate_ratio", "rehab_admission.rate_ratio", "public_cost.gbp_per_person_quarter")


@pytest.fixture(scope="module")
def default_world() -> pd.DataFrame:
    folder = ROOT / "data/synthetic/ipsa"
    truth = json.loads((folder / "truth.json").read_text())
    rows = [
        (e.estimand.key, e.role, e.lower <= truth[e.estimand.key] <= e.upper)
        for e in estimate_all(open_study(PROTOCOL, folder))
    ]
    return pd.DataFrame(rows, columns=["estimand", "role", "covered"])


def test_on_the_default_world_the_primaries_hold_the_truth_but_for_one_at_most(default_world):
    primary = default_world[default_world["role"] == "primary"]
    assert len(primary) == 7
    assert (~primary["covered"]).sum() <= 1


def test_on_the_default_world_the_naive_comparison_is_fooled(default_world):
    naive = default_world[default_world["role"] == "naive"].set_index("estimand")["covered"]
    assert not naive[list(FOOLED)].any()


@pytest.mark.slow
def test_primary_intervals_hold_the_truth_over_worlds():
    """Ten worlds are too few to see a small fault; they see a large one. 200 are run by `make recovery`."""
    rows = pd.DataFrame([row for seed in range(10) for row in run_world(seed, settings=SETTINGS, protocol=PROTOCOL)])
    found = summarise(rows)
    primary = found[found["role"] == "primary"].set_index("estimand")
    shown = primary["worlds"].sum()
    covered = (primary["coverage"] * primary["worlds"]).sum()
    assert covered / shown >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / shown)
    assert (primary["bias"].abs() <= 4 * primary["bias_mcse"]).all()
    naive = found[found["role"] == "naive"].set_index("estimand")
    assert (naive.loc[list(FOOLED), "coverage"] < 0.5).all()
