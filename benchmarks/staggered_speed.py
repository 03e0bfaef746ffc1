"""Callaway and Sant'Anna's estimator beside peers: 2 covariates, 20 periods, 999 multiplier draws, in one run.

    python benchmarks/staggered_speed.py [--units 2000 20000] [--peers-python PATH]

Each side starts from the same long data frame and ends with effects by cohort and period, effects by
time from adoption and a uniform band. Ours includes the checks of the panel. csdid is run by the
interpreter given, where it must be installed; without it, it is left out and the output says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from diff_diff import CallawaySantAnna

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.aggregate import aggregate_effects
from evalkit.estimators.area.group_time import StaggeredOptions
from evalkit.estimators.area.staggered import estimate_group_time

DRAWS = 999
PERIODS = 20
_CSDID = """
import contextlib, io, json, sys, time, warnings
import pandas as pd
warnings.simplefilter("ignore")
from csdid.att_gt import ATTgt
data = pd.read_csv(sys.argv[1])
begin = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    fit = ATTgt(yname="y", tname="period", idname="unit", gname="group", data=data, xformla="y~x1+x2",
                control_group=["nevertreated"], biters=999, cband=True).fit(est_method="dr", bstrap=True)
    fit.aggte(typec="dynamic", bstrap=True, cband=True, biters=999)
seconds = time.perf_counter() - begin
cells = [[int(g), int(t), float(v)] for g, t, v in zip(fit.results["group"], fit.results["year"], fit.results["att"])]
print(json.dumps([seconds, cells]))
"""

Cells = dict[tuple[int, int], float]


def make_frame(units: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """A long frame of five cohorts and never-treated units; trend and adoption both depend on covariates."""
    x = rng.normal(size=(units, 2))
    rank = 1 / (1 + np.exp(-(x @ [0.3, -0.2]) - rng.logistic(size=units)))
    adopts = np.array([5.0, 8.0, 11.0, 14.0, 17.0, np.nan])[np.minimum((6 * rank).astype(int), 5)]
    adopts[rng.random(units) < 0.35] = np.nan
    period = np.arange(1, PERIODS + 1)
    since = period - adopts[:, None]
    y = rng.normal(size=(units, 1)) + 0.1 * period + (x @ [0.05, 0.03])[:, None] * period
    y = y + np.where(since >= 0, 1 + 0.1 * since, 0.0) + rng.normal(size=(units, PERIODS))
    columns = {"unit": np.repeat(np.arange(units), PERIODS), "period": np.tile(period, units), "y": y.ravel()}
    columns |= {
        "adopts": np.repeat(adopts, PERIODS),
        "x1": np.repeat(x[:, 0], PERIODS),
        "x2": np.repeat(x[:, 1], PERIODS),
    }
    frame = pd.DataFrame(columns)
    return frame.assign(group=frame["adopts"].fillna(0).astype(int))


def run_ours(frame: pd.DataFrame) -> Cells:
    panel = Panel.from_frame(
        frame, unit="unit", period="period", outcome="y", adoption="adopts", covariates=("x1", "x2")
    )
    effects = estimate_group_time(panel, options=StaggeredOptions(covariates=("x1", "x2"), base="varying"))
    aggregate_effects(effects, None, kind="dynamic", rng=np.random.default_rng(1), draws=DRAWS)
    return {(int(g), int(t)): float(v) for g, t, v in zip(effects.group, effects.period, effects.value, strict=True)}


def run_diff_diff(frame: pd.DataFrame) -> Cells:
    # Its propensities are trimmed at 0.01 by default, which would change the estimates.
    fit = CallawaySantAnna(n_bootstrap=DRAWS, seed=1, pscore_trim=1e-9).fit(
        frame, outcome="y", unit="unit", time="period", first_treat="group", covariates=["x1", "x2"]
    )
    fit.aggregate("event_study")
    return {(int(g), int(t)): float(v["effect"]) for (g, t), v in fit.group_time_effects.items()}


def run_csdid(frame: pd.DataFrame, python: str) -> tuple[float, Cells]:
    """Its own seconds, without the start of the interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.csv"
        frame.drop(columns="adopts").to_csv(path, index=False)
        done = subprocess.run([python, "-c", _CSDID, str(path)], capture_output=True, text=True, check=True)
    seconds, cells = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, {(g, t): v for g, t, v in cells}


def time_best(run: Callable[[pd.DataFrame], Cells], frame: pd.DataFrame, *, repeats: int) -> tuple[float, Cells]:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = run(frame)
        seconds.append(time.perf_counter() - begin)
    return min(seconds), found


def find_csdid(python: str | None) -> bool:
    """Whether the interpreter given can import csdid."""
    if python is None:
        return False
    return subprocess.run([python, "-c", "import csdid"], capture_output=True, check=False).returncode == 0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--peers-python", default=None, help="an interpreter in which csdid is installed")
    options = parser.parse_args(arguments)
    has_csdid = find_csdid(options.peers_python)
    for units in options.units:
        frame = make_frame(units, rng=np.random.default_rng(1))
        ours, cells = time_best(run_ours, frame, repeats=3)
        print(f"{units:,} units, {PERIODS} periods, 2 covariates, {DRAWS} draws: ours {ours:.2f} s")
        rows = [("diff-diff", *time_best(run_diff_diff, frame, repeats=3))]
        if has_csdid:
            rows.append(("csdid", *run_csdid(frame, options.peers_python)))
        for name, seconds, theirs in rows:
            apart = max(abs(cells[key] - theirs[key]) for key in cells)
            print(f"  {name}: {seconds:.2f} s, {seconds / ours:.1f} times ours; largest difference {apart:.1e}")
        if not has_csdid:
            print("  csdid: not run; give an interpreter that has it by --peers-python")


if __name__ == "__main__":
    main(sys.argv[1:])
