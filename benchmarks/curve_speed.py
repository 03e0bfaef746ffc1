"""Curves of people beside peers on day-rounded follow-up: Aalen-Johansen, Kaplan-Meier, mean counts, in one run.

    python benchmarks/curve_speed.py [--rows 20000] [--lifelines-python PATH ...] [--rscript PATH]

Every side gets the same rows and ends with the whole curve and its errors. Ours includes building and checking the
follow-up. lifelines is run by the interpreters given, R's survival by the Rscript given; without them they are left out
and the output says so. lifelines breaks ties by random numbers, so its values differ a little, and is timed once. Its
variance takes time with the square of the number of event times in 0.30.0, and with that number in 0.30.3: give an
interpreter with each to see both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cumulative_incidence import IncidenceOptions, compute_cumulative_incidence
from evalkit.estimators.survival.curves import Curve, compute_curve_at
from evalkit.estimators.survival.kaplan_meier import compute_survival
from evalkit.estimators.survival.mean_count import compute_mean_count

AT = (30, 90, 365, 700)
_LIFELINES = """
import json, sys, time, warnings
import pandas as pd
warnings.simplefilter("ignore")
from lifelines import AalenJohansenFitter
data = pd.read_csv(sys.argv[1])
at = json.loads(sys.argv[2])
begin = time.perf_counter()
fit = AalenJohansenFitter(calculate_variance=True, seed=1).fit(data["exit"], data["event"], event_of_interest=1)
seconds = time.perf_counter() - begin
value = fit.cumulative_density_.iloc[:, 0]
rows = [[float(value[value.index < t + 0.5].iloc[-1]),
         float(fit.variance_[fit.variance_.index < t + 0.5].iloc[-1]) ** 0.5] for t in at]
print(json.dumps([seconds, rows]))
"""
_R = """
suppressMessages(library(survival))
a <- commandArgs(TRUE); d <- read.csv(a[1]); at <- as.numeric(strsplit(a[2], ",")[[1]])
begin <- proc.time()[[3]]
if (a[3] == "incidence") { f <- survfit(Surv(exit, factor(event, 0:2)) ~ 1, d) } else
if (a[3] == "survival") { f <- survfit(Surv(exit, event > 0) ~ 1, d) } else
{ f <- survfit(Surv(entry, exit, event == 1) ~ 1, d, id = person) }
seconds <- proc.time()[[3]] - begin
s <- summary(f, times = at)
v <- if (a[3] == "incidence") cbind(s$pstate[, 2], s$std.err[, 2]) else
  if (a[3] == "survival") cbind(s$surv, s$std.err) else cbind(s$cumhaz, s$std.chaz)
cat(sprintf("[%.17g, [%s]]", seconds, paste(sprintf("[%.17g, %.17g]", v[, 1], v[, 2]), collapse = ", ")))
"""

Points = np.ndarray  # shape (len(AT), 2): value and standard error


def make_first_events(rows: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """First readmission, death before it, or censoring, on whole days; one row a person."""
    times = np.stack([rng.exponential(scale, rows) for scale in (500, 1_200, 900)])
    event = np.choose(times.argmin(axis=0), [1, 2, 0])
    return pd.DataFrame({"exit": np.ceil(times.min(axis=0)), "event": event})


def make_admissions(rows: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Recurrent admissions with a frailty and people's last day, without deaths: about `rows` intervals."""
    people = rows // 4
    rate = rng.gamma(2.0, 0.5, people) / 250
    gaps = np.ceil(rng.exponential(1 / rate[:, None], (people, 30)))
    stops = np.cumsum(gaps, axis=1)
    end = np.ceil(rng.uniform(200, 1_000, people))[:, None]
    begins = np.concatenate([np.zeros((people, 1)), stops[:, :-1]], axis=1)
    seen = begins < end
    person = np.broadcast_to(np.arange(people)[:, None], stops.shape)
    frame = {"person": person[seen], "entry": begins[seen], "exit": np.minimum(stops, end)[seen]}
    return pd.DataFrame(frame | {"event": (stops < end)[seen].astype(int)})


def read(curve: Curve) -> Points:
    return compute_curve_at(curve, AT)[["value", "se"]].to_numpy()


def run_incidence(frame: pd.DataFrame) -> Points:
    """Both causes, with jackknife errors as R's survfit has them."""
    follow_up = FollowUp.from_frame(frame, exit="exit", event="event", causes=("readmission", "death"))
    return read(compute_cumulative_incidence(follow_up)[0])


def run_delta_incidence(frame: pd.DataFrame) -> Points:
    """Both causes, with the delta-method errors that lifelines has."""
    follow_up = FollowUp.from_frame(frame, exit="exit", event="event", causes=("readmission", "death"))
    return read(compute_cumulative_incidence(follow_up, options=IncidenceOptions(errors="delta"))[0])


def run_survival(frame: pd.DataFrame) -> Points:
    follow_up = FollowUp.from_frame(frame, exit="exit", event="event", causes=("readmission", "death"))
    return read(compute_survival(follow_up)[0])


def run_count(frame: pd.DataFrame) -> Points:
    follow_up = FollowUp.from_frame(frame, entry="entry", exit="exit", event="event", person="person")
    return read(compute_mean_count(follow_up)[0])


def run_statsmodels_incidence(frame: pd.DataFrame) -> Points:
    fit = CumIncidenceRight(frame["exit"].to_numpy(), frame["event"].to_numpy())
    place = np.searchsorted(fit.times, AT, side="right") - 1
    return np.column_stack([fit.cinc[0][place], fit.cinc_se[0][place]])


def run_statsmodels_survival(frame: pd.DataFrame) -> Points:
    fit = SurvfuncRight(frame["exit"].to_numpy(), frame["event"].to_numpy() > 0)
    place = np.searchsorted(fit.surv_times, AT, side="right") - 1
    return np.column_stack([fit.surv_prob[place], fit.surv_prob_se[place]])


def run_outside(
    command: list[str], frame: pd.DataFrame, *, at: str, last: tuple[str, ...] = ()
) -> tuple[float, Points]:
    """Its own seconds, without the start of the interpreter and the reading of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        frame.to_csv(path, index=False)
        done = subprocess.run([*command, str(path), at, *last], capture_output=True, text=True, check=True)
    seconds, points = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, np.array(points)


def time_best(run: Callable[[pd.DataFrame], Points], frame: pd.DataFrame, *, repeats: int) -> tuple[float, Points]:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = run(frame)
        seconds.append(time.perf_counter() - begin)
    return min(seconds), found


def can_run(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def ask_version(python: str) -> str:
    command = [python, "-c", "import lifelines; print(lifelines.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def report(name: str, ours: tuple[float, Points], peers: list[tuple[str, float, Points]]) -> None:
    print(f"{name}: ours {ours[0]:.4f} s")
    for peer, seconds, points in peers:
        value, error = np.abs(points / ours[1] - 1).max(axis=0)
        print(
            f"  {peer}: {seconds:.4f} s, {seconds / ours[0]:.3g} times ours; "
            f"largest relative difference of values {value:.1e}, of errors {error:.1e}"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--lifelines-python", nargs="+", default=[sys.executable], help="interpreters with lifelines")
    parser.add_argument("--rscript", default="Rscript", help="an Rscript with the package survival")
    options = parser.parse_args(arguments)
    first = make_first_events(options.rows, rng=np.random.default_rng(1))
    admissions = make_admissions(options.rows, rng=np.random.default_rng(2))
    days = ",".join(map(str, AT))
    has_r = can_run([options.rscript, "-e", "library(survival)"])
    with_lifelines = [python for python in options.lifelines_python if can_run([python, "-c", "import lifelines"])]

    def r(frame: pd.DataFrame, what: str) -> list[tuple[str, float, Points]]:
        if not has_r:
            return []
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "curve.R"
            script.write_text(_R)
            return [("R survfit", *run_outside([options.rscript, str(script)], frame, at=days, last=(what,)))]

    peers = [("statsmodels", *time_best(run_statsmodels_incidence, first, repeats=3)), *r(first, "incidence")]
    report(f"Aalen-Johansen, jackknife errors, {len(first):,} rows", time_best(run_incidence, first, repeats=9), peers)
    ours = time_best(run_delta_incidence, first, repeats=9)
    outside = [
        (f"lifelines {ask_version(python)}", *run_outside([python, "-c", _LIFELINES], first, at=json.dumps(AT)))
        for python in with_lifelines
    ]
    report(f"Aalen-Johansen, delta-method errors, {len(first):,} rows", ours, outside)
    peers = [("statsmodels", *time_best(run_statsmodels_survival, first, repeats=3)), *r(first, "survival")]
    report(f"Kaplan-Meier with errors, {len(first):,} rows", time_best(run_survival, first, repeats=9), peers)
    ours = time_best(run_count, admissions, repeats=9)
    report(f"Mean count with errors by person, {len(admissions):,} intervals", ours, r(admissions, "count"))
    if not has_r:
        print("R survfit: not run; give an Rscript with the package survival by --rscript")
    if not with_lifelines:
        print("lifelines: not run; give an interpreter that has it by --lifelines-python")


if __name__ == "__main__":
    main(sys.argv[1:])
