"""What the committed release tells of the treated area's counts, to somebody who holds it and the code alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.study import HELD, is_held
from evalkit.core.protocol import load_protocol
from evalkit.core.result import Results

ROOT = Path(__file__).parents[2]
PROTOCOL = load_protocol(ROOT / "protocols/ipsa.toml")
RELEASE = Results.load(ROOT / "reports/ipsa/results.parquet")
MOST = 400
LEAST_POSSIBLE = 5  # values that each count must still be able to have


def test_tables_of_single_periods_never_left():
    tables = set(RELEASE.frame["table"])
    assert {f"designs.{o.key}" for o in PROTOCOL.outcomes_of("rate") if o.role == "primary"} <= tables
    assert not [t for t in tables if is_held(t)]
    assert is_held("gap.residential_entry")
    assert is_held("checks.designs.residential_entry")
    assert not is_held("gap_year")
    assert len(HELD) == len(set(HELD))


def possible_counts(key: str) -> np.ndarray | None:
    """Which pairs of events after (rows) and before (columns) agree with the ratio and the studentised effect shown."""
    effects = RELEASE.table("effects")
    planned = effects[(effects["outcome"] == key) & (effects["estimator"] == "poisson_did_permutation")].iloc[0]
    placebo = RELEASE.table(f"placebo.{key}")
    shown = placebo[(placebo["row"] == "Lambeth") & (placebo["status"] == "shown")]
    if shown.empty or planned["status"] != "shown":
        return None
    t = float(shown["value"].iloc[0])
    step = 10.0 ** (math.floor(math.log10(abs(t))) - 1) / 2
    after, before = np.meshgrid(np.arange(1, MOST), np.arange(1, MOST), indexing="ij")
    agree = np.zeros(after.shape, dtype=bool)
    for ratio in np.linspace(planned["value"] - 0.005, planned["value"] + 0.005, 41):
        expected = after / ratio
        error = np.sqrt(1 / (before + 0.5) + 1 / (expected + 0.5))
        agree |= np.abs(np.log((after + 0.5) / (expected + 0.5)) / error - t) <= step * (1 + 1e-9)
    return agree & (np.abs(np.minimum(after, before) - planned["n_events"]) <= 2.5)


def true_counts(key: str) -> tuple[int, int]:
    counts = pd.read_parquet(ROOT / "data/synthetic/ipsa/area_counts.parquet")
    mine = counts[(counts["area"] == "Lambeth") & (counts["outcome"] == key)]
    start = pd.to_datetime(mine["period_start"])
    ahead = (start >= "2015-01-01") & (start < "2015-04-01")
    late = start >= "2015-04-01"
    return int(mine["count"][late].sum()), int(mine["count"][~late & ~ahead].sum())


@pytest.mark.parametrize("key", ["residential_entry", "rehab_admission", "residential_discharge"])
def test_ratio_and_placebo_together_do_not_give_the_counts_back(key):
    possible = possible_counts(key)
    assert possible is not None
    after, before = true_counts(key)
    assert possible[after - 1, before - 1]  # the attack looks in the right place
    assert possible.any(axis=1).sum() >= LEAST_POSSIBLE
    assert possible.any(axis=0).sum() >= LEAST_POSSIBLE


def test_estimates_of_few_events_have_two_decimals():
    rows = RELEASE.frame
    few = rows[
        (rows["kind"] == "estimate") & (rows["unit"] == "ratio") & (rows["n_events"] < 1000) & (rows["role"] != "naive")
    ]
    assert len(few) > 30
    for column in ("value", "lower", "upper"):
        numbers = few[column][np.isfinite(few[column]) & (few[column] >= 0.1)]
        assert (numbers.round(2) == numbers).all()
    assert few["se"].isna().all()
