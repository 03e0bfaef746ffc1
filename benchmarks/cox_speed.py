"""Andersen-Gill's model with clustered errors beside peers: 20,000 people, about 87,000 rows, 10 covariates, one run.

    python benchmarks/cox_speed.py [--people 20000] [--rscript Rscript] [--peers-python PATH] [--rows 1000000]

Each side starts from the same table in memory (R and lifelines read it before their clock starts) and ends with
coefficients and clustered errors; ours includes the checks of the table. Times are whole days, so that there are
ties: R and lifelines are compared with our Efron fit, statsmodels with our Breslow fit, its faster. R's coxph is
called where `Rscript` with survival is there, lifelines by the interpreter given, where it must be installed; a peer
that is absent is left out and the output says so. Seconds are those of the processor, so that a busy machine changes
ratios little; set OMP_NUM_THREADS=1 to give all one thread. `--rows` then weights and fits that many rows once, and
prints the memory of the whole process at its highest.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.duration.hazard_regression import PHReg

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.cox_sums import Ties

TIES: tuple[Ties, ...] = ("efron", "breslow")
COVARIATES = tuple(f"x{j}" for j in range(10))
_R = """
arguments <- commandArgs(trailingOnly = TRUE)
suppressMessages(library(survival))
data <- read.csv(arguments[1])
covariates <- paste0("x", 0:9)
model <- as.formula(paste("Surv(begin, end, event) ~", paste(covariates, collapse = "+")))
seconds <- system.time(fit <- coxph(model, data, cluster = person))
seconds <- sum(seconds[c("user.self", "sys.self")])
cat(sprintf("%.17g", c(seconds, coef(fit), sqrt(diag(fit$var)))), sep = " ")
"""
_LIFELINES = """
import json, sys, time, warnings
import pandas as pd
warnings.simplefilter("ignore")
from lifelines import CoxPHFitter
data = pd.read_csv(sys.argv[1])
begin = time.process_time()
fit = CoxPHFitter().fit(data, duration_col="end", event_col="event", entry_col="begin", cluster_col="person")
seconds = time.process_time() - begin
print(json.dumps([seconds, *fit.params_.tolist(), *fit.standard_errors_.tolist()]))
"""

Found = tuple[float, np.ndarray, np.ndarray]


def make_frame(people: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Recurrent events of people with covariates that change at each; one row from one event to the next."""
    counts = 1 + rng.poisson(3.35, people)
    person = np.repeat(np.arange(people), counts)
    own = rng.normal(size=(people, len(COVARIATES)))
    x = own[person] + 0.3 * rng.normal(size=(len(person), len(COVARIATES)))
    gap = np.ceil(rng.exponential(100 / np.exp(own[person] @ np.linspace(-0.3, 0.3, len(COVARIATES)))))
    last = np.cumsum(counts) - 1
    total = np.cumsum(gap)
    before = np.concatenate([[0.0], total[last[:-1]]])
    end = total - before[person]
    begin = np.concatenate([[0.0], end[:-1]])
    begin[np.concatenate([[0], last[:-1] + 1])] = 0.0
    event = np.ones(len(person), dtype=np.int64)
    event[last] = 0
    return pd.DataFrame(
        {"person": person, "begin": begin, "end": end, "event": event} | dict(zip(COVARIATES, x.T, strict=True))
    )


def run_ours(frame: pd.DataFrame, *, ties: Ties = "efron", weights: str | None = None) -> Found:
    begin = time.process_time()
    follow_up = FollowUp.from_frame(
        frame, entry="begin", exit="end", event="event", person="person", weights=weights, covariates=COVARIATES
    )
    fit = fit_cox(follow_up, options=CoxOptions(ties=ties))
    return time.process_time() - begin, fit.coefficients, fit.standard_errors


def run_statsmodels(frame: pd.DataFrame) -> Found:
    begin = time.process_time()
    model = PHReg(frame["end"], frame[list(COVARIATES)], status=frame["event"], entry=frame["begin"], ties="breslow")
    fit = model.fit(groups=frame["person"])
    return time.process_time() - begin, np.asarray(fit.params), np.asarray(fit.bse)


def run_outside(frame: pd.DataFrame, program: str, script: str) -> Found:
    """A peer in another process, which gets a file and gives its seconds, coefficients and errors."""
    with tempfile.TemporaryDirectory() as folder:
        data, code = Path(folder) / "rows.csv", Path(folder) / "peer"
        frame.to_csv(data, index=False)
        code.write_text(script)
        done = subprocess.run([program, str(code), str(data)], capture_output=True, text=True, check=True)
    text = done.stdout.strip().splitlines()[-1]
    values = json.loads(text) if text.startswith("[") else [float(part) for part in text.split()]
    p = len(COVARIATES)
    return values[0], np.array(values[1 : 1 + p]), np.array(values[1 + p :])


def can_run(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def compare(frame: pd.DataFrame, *, rscript: str, peers_python: str | None) -> None:
    ours = {ties: min((run_ours(frame, ties=ties) for _ in range(3)), key=lambda run: run[0]) for ties in TIES}
    print(f"{frame['person'].nunique():,} people, {len(frame):,} rows, {len(COVARIATES)} covariates", end=": ")
    print(", ".join(f"ours {ours[ties][0]:.2f} s ({ties})" for ties in TIES), flush=True)
    peers: dict[str, Callable[[], Found]] = {}
    if can_run([rscript, "-e", "library(survival)"]):
        peers["R survival::coxph"] = lambda: run_outside(frame, rscript, _R)
    else:
        print("  R: not run; Rscript with the package survival is not there")
    peers["statsmodels PHReg"] = lambda: run_statsmodels(frame)
    if peers_python and can_run([peers_python, "-c", "import lifelines"]):
        peers["lifelines"] = lambda: run_outside(frame, peers_python, _LIFELINES)
    else:
        print("  lifelines: not run; give an interpreter that has it by --peers-python")
    for name, run in peers.items():
        own, coefficients, errors = ours["breslow" if name.startswith("statsmodels") else "efron"]
        seconds, theirs, their_errors = run()
        apart, ratio = np.abs(theirs - coefficients).max(), np.median(their_errors / errors)
        print(
            f"  {name}: {seconds:.2f} s, {seconds / own:.1f} times ours; coefficients apart by at most {apart:.1e}, "
            f"clustered errors {ratio:.6f} times ours (median)",
            flush=True,
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--rscript", default="Rscript")
    parser.add_argument("--peers-python", default=None, help="an interpreter in which lifelines is installed")
    parser.add_argument("--rows", type=int, default=0, help="also fit this many weighted rows once, ours alone")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(1)
    compare(make_frame(options.people, rng=rng), rscript=options.rscript, peers_python=options.peers_python)
    if options.rows:
        frame = make_frame(int(options.rows / 4.35) + 1, rng=rng)
        frame["weight"] = rng.uniform(0.5, 2, len(frame))
        seconds = run_ours(frame, weights="weight")[0]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{len(frame):,} weighted rows: ours {seconds:.1f} s; the whole process at most {peak:.1f} GB")


if __name__ == "__main__":
    main(sys.argv[1:])
