"""Every speed that the person-level effects promise, beside the peers, in one run.

    python benchmarks/person_speed.py [--peers-python PATH] [--rscript Rscript] [--rows 1000000] [--quick]

Runs `cox_speed.py`, `curve_speed.py` and `weight_speed.py` one after the other on one thread, then a million
person-rows through weighting and Cox, with the highest memory of a process of its own. `--peers-python` is the
interpreter of an environment with lifelines; R is used where `Rscript` with the package survival is there. `--quick`
runs the million rows alone. Ratios are what matters: all sides run on the same machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from evalkit.estimators.survival.cox import fit_cox
from evalkit.simulate.person_events import RecurrenceSettings, simulate_recurrence

FOLDER = Path(__file__).resolve().parent
GIGABYTES_WANTED = 8.0
NOISE = tuple(f"x{k}" for k in range(9))
COVARIATES = ("severity", *NOISE)


def make_rows(rows: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Recurrent admissions of as many people as it takes, with ten covariates, the worse treated."""
    settings = RecurrenceSettings(
        people=1 + rows // 2, rate_ratio=0.7, selection=0.8, severity_effect=0.3, follow_up=(600.0, 900.0)
    )
    frame, _ = simulate_recurrence(settings, rng=rng)
    frame = frame.iloc[:rows].copy()
    frame[list(NOISE)] = rng.normal(size=(len(frame), len(NOISE)))
    return frame


def weigh_and_fit(rows: int) -> tuple[int, int, float, float, float, float]:
    """Rows, people, seconds of weighting and of Cox, log rate ratio, and gigabytes of this process at its highest."""
    frame = make_rows(rows, rng=np.random.default_rng(1))
    begin = time.process_time()
    comparison = Comparison.from_frame(frame, treatment="treated", covariates=COVARIATES, cluster="person")
    frame["weight"] = build_weights(comparison, options=WeightOptions(estimand="ATE")).weights
    weighted = time.process_time()
    follow_up = FollowUp.from_frame(
        frame, entry="entry", exit="exit", event="event", person="person", weights="weight",
        covariates=("treated", *COVARIATES), causes=("admission", "death"),
    )  # fmt: skip
    fit = fit_cox(follow_up)
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return len(frame), follow_up.n_people, weighted - begin, done - weighted, float(fit.coefficients[0]), peak


def measure_memory(rows: int) -> None:
    """Weighting and Cox in a process that does nothing else, so that its highest memory is theirs."""
    with get_context("spawn").Pool(1) as pool:
        found, people, weighting, cox, log_ratio, peak = pool.apply(weigh_and_fit, (rows,))
    verdict = "within" if peak <= GIGABYTES_WANTED else "ABOVE"
    print(
        f"{found:,} person-rows of {people:,} people, 10 covariates: weights {weighting:.1f} s, weighted Cox with "
        f"clustered errors {cox:.1f} s of processor time; at most {peak:.2f} GB, {verdict} {GIGABYTES_WANTED:g} GB "
        f"(log rate ratio {log_ratio:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="interpreter of an environment that has lifelines")
    parser.add_argument("--rscript", default="Rscript", help="an Rscript with the package survival")
    parser.add_argument("--rows", type=int, default=1_000_000, help="person-rows of the memory test")
    parser.add_argument("--quick", action="store_true", help="the memory test alone")
    given = parser.parse_args()
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.environ |= single
    cox = ["--peers-python", given.peers_python] if given.peers_python else []
    curves = ["--lifelines-python", given.peers_python] if given.peers_python else []
    rscript = ["--rscript", given.rscript]
    runs = [("cox_speed.py", [*cox, *rscript]), ("curve_speed.py", [*curves, *rscript]), ("weight_speed.py", [])]
    for name, arguments in [] if given.quick else runs:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, str(FOLDER / name), *arguments], check=True, env=os.environ | single)
    print("\n== weighting and Cox", flush=True)
    measure_memory(given.rows)


if __name__ == "__main__":
    main()
