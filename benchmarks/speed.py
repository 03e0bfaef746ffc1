"""What the main job costs in time, beside a peer that gives the same numbers; all in one run.

    python benchmarks/speed.py [--people 1000000]

Ratios are what matters: both sides run on the same machine, one after the other, best of three.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from evalkit.analysis.costs import find_cost_effect  # noqa: E402
from evalkit.analysis.study import open_study  # noqa: E402
from evalkit.cohort.panel import Panel  # noqa: E402
from evalkit.estimators.area.rates import RateOptions, estimate_placebos  # noqa: E402
from evalkit.simulate import load_settings, write_world  # noqa: E402
from tests.panels import make_panel  # noqa: E402


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Best of three, in seconds, and the result."""
    seconds, result = [], None
    for _ in range(3):
        begin = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def placebos_by_regression(panel: Panel) -> np.ndarray:
    """Log ratio of each area in the treated one's place, one Poisson regression with dummies after another."""
    j, t = np.indices(panel.outcome.shape)
    names = pd.DataFrame({"j": j.ravel().astype(str), "t": t.ravel().astype(str)})
    design = sm.add_constant(pd.get_dummies(names, drop_first=True).astype(float)).to_numpy()
    y, offset = panel.outcome.ravel(), np.log(panel.denominator.ravel())
    treated = int(np.flatnonzero(panel.treated)[0])
    after = (t >= np.searchsorted(panel.periods, panel.adoption[treated])).ravel()
    out = []
    for unit in [treated, *(u for u in range(len(panel.units)) if u != treated)]:
        target = after & (j.ravel() == unit)
        fit = sm.GLM(y[~target], design[~target], family=sm.families.Poisson(), offset=offset[~target]).fit()
        expected = fit.predict(design[target], offset=offset[target]).sum()
        out.append(np.log((y[target].sum() + 0.5) / (expected + 0.5)))
    return np.array(out)


def compare(name: str, peer: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray]) -> None:
    own, found = timed(ours)
    other, reference = timed(theirs)
    gap = float(np.max(np.abs(found - reference)))
    print(f"{name}: evalkit {own:.4f} s, {peer} {other:.4f} s, ratio {other / own:.0f}, largest difference {gap:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=0, help="also write a world of about so many people")
    asked = parser.parse_args()

    panel, _ = make_panel(np.random.default_rng(1), periods=25, adopted=12, mean=20)
    options = RateOptions()
    compare(
        "33 placebo analyses of 33 areas by 25 quarters",
        "statsmodels",
        lambda: estimate_placebos(panel, options=options, rng=np.random.default_rng(0))["log_ratio"].to_numpy(),
        lambda: placebos_by_regression(panel),
    )

    if asked.people:
        settings = load_settings(ROOT / "data/synthetic/settings/ipsa.toml")
        scale = asked.people / sum(settings.areas.people.values())
        with tempfile.TemporaryDirectory() as scratch:
            begin = time.perf_counter()
            write_world(settings.changed(world={"scale": scale}), Path(scratch) / "world", seed=1)
            seconds = time.perf_counter() - begin
            begin = time.perf_counter()
            study = open_study(ROOT / "protocols/ipsa.toml", Path(scratch) / "world")
            found = find_cost_effect(study, study.protocol.outcomes_of("cost")[0])
            costing, people = time.perf_counter() - begin, len(found.found.people)
        print(f"Their costs, {people:,} in the cohort, {len(found.means.values) - 1:,} draws: {costing:.0f} s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"A world of {asked.people:,} people: {seconds:.0f} s, peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
