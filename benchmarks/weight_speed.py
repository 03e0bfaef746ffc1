"""Weights at speed and at size, beside loops over scikit-learn and statsmodels; all in one run.

    python benchmarks/weight_speed.py [--replicates 2000] [--statsmodels 40] [--rows 1000000]

1. Bootstrap draws of a weighted effect on the treated, 5,000 people, 20 covariates, the propensity fitted anew in
   each draw. Every side gets the same draws, as counts. The loops do what a careful user writes: scikit-learn's
   LogisticRegression without penalty (lbfgs) and statsmodels' GLM and Logit, all at their default tolerance, counts as
   weights (Logit, which takes none, with rows repeated). statsmodels is timed on fewer draws and scaled, which is
   said. Values are compared draw by draw.
2. Nearest-neighbour matching of 5,000 treated with 20,000 others.
3. A million person-rows through `build_weights` and `assess_balance`, with the peak of memory of a process of its own.

Set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 for one thread on all sides; without, small fits in a loop lose most
to threads that wait for each other. Ratios are what matters, on an idle machine; seconds of the processor are shown
beside those of the clock, which others' work lengthens.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

from evalkit.cohort.comparison import Comparison
from evalkit.estimators.people.balance import assess_balance
from evalkit.estimators.people.logistic import add_intercept
from evalkit.estimators.people.matching import MatchOptions, match
from evalkit.estimators.people.weight_draws import compute_weighted_att_draws
from evalkit.estimators.people.weighting import WeightOptions, build_weights

SKLEARN_WANTED, STATSMODELS_WANTED, GIGABYTES_WANTED, AGREEMENT = 4, 50, 8, 1e-8


def make_people(n: int, *, rng: np.random.Generator, shift: float = -0.5) -> Comparison:
    """n people with 20 covariates, some of them yes/no, on which treatment and outcome depend."""
    x = rng.normal(size=(n, 20))
    x[:, 12:] = x[:, 12:] > 0.5
    treated = rng.random(n) < 1 / (1 + np.exp(-(shift + x @ rng.normal(scale=0.2, size=20))))
    outcome = x @ rng.normal(size=20) + treated + rng.normal(size=n)
    names = tuple(f"x{j}" for j in range(20))
    return Comparison(treated, x, names, outcome, None, np.arange(n), np.ones(n))


def att(comparison: Comparison, propensity: np.ndarray, counts: np.ndarray) -> float:
    t, y = comparison.treated, comparison.outcome
    w = counts * np.where(t, 1.0, propensity / (1 - propensity))
    return float(np.average(y[t], weights=w[t]) - np.average(y[~t], weights=w[~t]))


def by_sklearn(comparison: Comparison, counts: np.ndarray) -> float:
    model = LogisticRegression(C=np.inf, solver="lbfgs", max_iter=1000)
    model.fit(comparison.covariates, comparison.treated, sample_weight=counts)
    return att(comparison, model.predict_proba(comparison.covariates)[:, 1], counts)


def by_glm(comparison: Comparison, counts: np.ndarray) -> float:
    x, y = add_intercept(comparison.covariates), comparison.treated.astype(float)
    fit = sm.GLM(y, x, family=sm.families.Binomial(), freq_weights=counts).fit()
    return att(comparison, fit.predict(x), counts)


def by_logit(comparison: Comparison, counts: np.ndarray) -> float:
    rows = np.repeat(np.arange(len(comparison)), counts)
    x, y = add_intercept(comparison.covariates), comparison.treated.astype(float)
    fit = sm.Logit(y[rows], x[rows]).fit(disp=0)
    return att(comparison, fit.predict(x), counts)


def timed(call: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds of the clock, of the processor, and the result."""
    start, work = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - start, time.process_time() - work, result


def compare_draws(replicates: int, few: int) -> None:
    rng = np.random.default_rng(20150401)
    comparison = make_people(5_000, rng=rng)
    counts = rng.multinomial(5_000, np.full(5_000, 1 / 5_000), size=replicates)
    x = add_intercept(comparison.covariates)
    compute_weighted_att_draws(x, comparison.treated, comparison.outcome, counts[:50])  # warm
    run = lambda: compute_weighted_att_draws(x, comparison.treated, comparison.outcome, counts)  # noqa: E731
    clock, work, values = min((timed(run) for _ in range(3)), key=lambda result: result[0])
    print(f"{replicates:,} draws of a weighted ATT, 5,000 people, 20 covariates: seconds (processor), times slower")
    print(f"  {'evalkit':<34}{clock:8.2f} s ({work:7.2f} s)")
    for name, one, count, wanted in (
        ("scikit-learn", by_sklearn, replicates, SKLEARN_WANTED),
        ("statsmodels GLM", by_glm, few, STATSMODELS_WANTED),
        ("statsmodels Logit", by_logit, few, STATSMODELS_WANTED),
    ):
        theirs, their_work, found = timed(
            lambda one=one, count=count: np.array([one(comparison, draw) for draw in counts[:count]])
        )
        scale = replicates / count
        note = "" if count == replicates else f" (scaled from {count})"
        gap = float(np.abs(found - values[:count]).max())
        print(
            f"  {name + note:<34}{theirs * scale:8.2f} s ({their_work * scale:7.2f} s) {theirs * scale / clock:6.1f} "
            f"({their_work * scale / work:.1f}) times, wanted {wanted}; largest difference {gap:.1e}"
        )
        if name != "scikit-learn" and gap > AGREEMENT:
            raise SystemExit(f"values differ from {name} by {gap:.1e}, more than {AGREEMENT:.0e}")


def match_many() -> None:
    comparison = make_people(25_000, rng=np.random.default_rng(1), shift=-1.4)
    treated = int(comparison.treated.sum())
    print(f"\nnearest neighbour, {treated:,} treated, {25_000 - treated:,} others, propensity included")
    for options in (MatchOptions(), MatchOptions(ratio=3, caliper=0.2), MatchOptions(distance="mahalanobis")):
        seconds, _, found = timed(lambda options=options: match(comparison, options=options))
        print(f"  {options.distance}, {options.ratio}:1 {seconds:8.2f} s, {len(found.pairs):,} pairs")


def weigh_many(rows: int, send: multiprocessing.connection.Connection) -> None:
    comparison = make_people(rows, rng=np.random.default_rng(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs = []
    for method in ("logistic", "entropy"):
        options = WeightOptions(method=method)
        seconds, _, built = timed(lambda options=options: build_weights(comparison, options=options))
        runs.append((f"build_weights, {method}", seconds))
    seconds, _, _ = timed(lambda: assess_balance(comparison, built))
    runs.append(("assess_balance", seconds))
    send.send((runs, before / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def measure_size(rows: int) -> None:
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe()
    process = context.Process(target=weigh_many, args=(rows, send))
    process.start()
    runs, before, peak = receive.recv()
    process.join()
    print(f"\n{rows:,} person-rows, 20 covariates")
    for name, seconds in runs:
        print(f"  {name:<24}{seconds:8.2f} s")
    print(f"  peak memory {peak:.2f} GB, of which {before:.2f} GB before weighting; wanted below {GIGABYTES_WANTED} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2_000, help="bootstrap draws")
    parser.add_argument("--statsmodels", type=int, default=40, help="draws that statsmodels is timed on")
    parser.add_argument("--rows", type=int, default=1_000_000, help="person-rows of the memory test")
    given = parser.parse_args()
    compare_draws(given.replicates, min(given.statsmodels, given.replicates))
    match_many()
    measure_size(given.rows)


if __name__ == "__main__":
    main()
