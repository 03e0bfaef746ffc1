"""Bootstrap of cost models at speed, beside loops over statsmodels; all in one run.

    python benchmarks/cost_speed.py [--replicates 2000] [--statsmodels 200]

600 people with 8 covariates and skewed costs. Every side gets the same draws, as counts, on one thread each.

1. Gamma regression with log link: coefficients of every draw.
2. Doubly robust difference-in-differences of cost in proportion: actual and counterfactual mean of the treated.
3. The same in pounds, with maximum likelihood and least squares (Sant'Anna and Zhao's traditional estimator), whose
   loop is a Logit and one WLS: most of what can be gained is lost to the Logit, which is quick, so that no ratio is
   asked of it. The improved estimator in pounds, which statsmodels has not, is timed beside it.

The loops are what people write: statsmodels' GLM with the counts as freq_weights, Logit (which takes no weights) on
repeated rows, WLS, at their default tolerance. They are timed on fewer draws and scaled, which is said. Their values
are compared draw by draw, once as timed and once, on few draws, with their tolerance drawn tight. People without any
cost before are left out of these data, since the loop writes the trend as a Poisson model with log cost before as
offset. Ratios are what matters, of processor time, which others' work on the machine does not lengthen; seconds of
the clock stand beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from threadpoolctl import threadpool_limits

from evalkit.cohort.comparison import Comparison
from evalkit.estimators.costs.dr_did import DrCostOptions, compute_dr_cost_draws, draw_counts
from evalkit.estimators.costs.glm import GlmOptions, fit_glm_draws
from evalkit.estimators.people.logistic import add_intercept

WANTED, AGREEMENT, TIGHT_DRAWS = 30, 1e-8, 20
PEOPLE, COVARIATES = 600, 8


@dataclass(frozen=True)
class Tolerance:
    """What statsmodels' fits are asked for: their defaults, or as much as they can give."""

    glm: dict[str, float]
    logit: dict[str, float]


DEFAULT = Tolerance({}, {})
TIGHT = Tolerance({"tol": 1e-15, "maxiter": 100}, {"tol": 1e-13, "maxiter": 100})


def make_people(*, rng: np.random.Generator) -> Comparison:
    """People whose costs, skewed and above nought, and whose treatment depend on 8 covariates, three of them yes/no."""
    x = rng.normal(size=(PEOPLE, COVARIATES))
    x[:, 5:] = x[:, 5:] > 0.3
    treated = rng.random(PEOPLE) < 1 / (1 + np.exp(0.5 - 0.5 * x[:, 0] + 0.3 * x[:, 5]))
    level = 2_000 * np.exp(0.3 * x[:, 0] + 0.2 * treated + 0.2 * x[:, 1]) * rng.gamma(2.0, 0.5, PEOPLE)
    before = level * rng.gamma(2.0, 0.5, PEOPLE)
    after = 0.8 * level * np.exp(0.1 * x[:, 0]) * rng.gamma(2.0, 0.5, PEOPLE) * np.where(treated, 0.8, 1.0)
    names = tuple(f"x{j}" for j in range(COVARIATES))
    return Comparison(treated, x, names, after, before, np.arange(PEOPLE), np.ones(PEOPLE))


def loop_gamma(people: Comparison, counts: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    x = add_intercept(people.covariates)
    family = sm.families.Gamma(link=sm.families.links.Log())
    return np.array([
        sm.GLM(people.outcome, x, family=family, freq_weights=count).fit(**tolerance.glm).params for count in counts
    ])  # fmt: skip


def fit_logit(people: Comparison, count: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """Linear predictor of being treated, shape (n,)."""
    x, rows = add_intercept(people.covariates), np.repeat(np.arange(len(people)), count)
    fit = sm.Logit(people.treated[rows].astype(float), x[rows]).fit(disp=0, method="newton", **tolerance.logit)
    return x @ fit.params


def loop_proportion(people: Comparison, counts: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    x, t, poisson = add_intercept(people.covariates), people.treated, sm.families.Poisson()
    c, before, after = ~t, people.before, people.outcome
    found = []
    for count in counts:
        odds = np.exp(fit_logit(people, count, tolerance))[c]
        of_t, of_c = count[t], count[c]
        m1 = sm.GLM(before[t], x[t], family=poisson, freq_weights=of_t).fit(**tolerance.glm)
        m0 = sm.GLM(before[c], x[c], family=poisson, freq_weights=of_c).fit(**tolerance.glm)
        r = sm.GLM(after[c], x[c], family=poisson, freq_weights=of_c, offset=np.log(before[c])).fit(**tolerance.glm)
        w = of_c * odds * m1.predict(x[c]) / m0.predict(x[c])
        trend_t, trend_c = np.exp(x[t] @ r.params), np.exp(x[c] @ r.params)
        shift = (w * (after[c] - trend_c * before[c])).sum() / (w * before[c]).sum()
        mean = np.average(before[t] * trend_t, weights=of_t) + np.average(before[t], weights=of_t) * shift
        found.append((np.average(after[t], weights=of_t), mean))
    return np.array(found)


def loop_pounds(people: Comparison, counts: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    x, t = add_intercept(people.covariates), people.treated
    c, change = ~t, people.outcome - people.before
    found = []
    for count in counts:
        odds = np.exp(fit_logit(people, count, tolerance))[c]
        fitted = x @ sm.WLS(change[c], x[c], weights=count[c]).fit().params
        trend = np.average(fitted[t], weights=count[t])
        trend += np.average(change[c] - fitted[c], weights=count[c] * odds)
        after, before = (np.average(values[t], weights=count[t]) for values in (people.outcome, people.before))
        found.append((after, before + trend))
    return np.array(found)


def run_gamma(people: Comparison, counts: np.ndarray) -> np.ndarray:
    options = GlmOptions(family="gamma", link="log")
    return fit_glm_draws(add_intercept(people.covariates), people.outcome, counts, options=options).coefficients


def run_proportion(people: Comparison, counts: np.ndarray) -> np.ndarray:
    return compute_dr_cost_draws(people, counts, options=DrCostOptions(scale_of_trend="proportion"))


def run_pounds(people: Comparison, counts: np.ndarray) -> np.ndarray:
    options = DrCostOptions(scale_of_trend="difference", method_in_pounds="traditional")
    return compute_dr_cost_draws(people, counts, options=options)


def timed(call: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Seconds of the clock, of the processor, and the result."""
    start, work = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - start, time.process_time() - work, result


def largest_gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Greatest difference, as a share of the greatest value of its column."""
    return float((np.abs(ours - theirs) / np.abs(theirs).max(axis=0)).max())


def compare(
    name: str,
    people: Comparison,
    counts: np.ndarray,
    few: int,
    run: Callable[[Comparison, np.ndarray], np.ndarray],
    loop: Callable[[Comparison, np.ndarray, Tolerance], np.ndarray],
    wanted: int,
) -> bool:
    """Print seconds, ratio and differences of one model; whether it is fast enough and the values agree."""
    run(people, counts[:50])  # warm
    clock, work, ours = min((timed(lambda: run(people, counts)) for _ in range(3)), key=lambda result: result[1])
    theirs_clock, theirs_work, found = timed(lambda: loop(people, counts[:few], DEFAULT))
    scale = len(counts) / few
    tight = largest_gap(ours[:TIGHT_DRAWS], loop(people, counts[:TIGHT_DRAWS], TIGHT))
    ratio = theirs_work * scale / work
    print(f"\n{name}: {len(counts):,} draws, {PEOPLE} people, {COVARIATES} covariates")
    print(f"  evalkit      {clock:7.2f} s (processor {work:.2f} s)")
    print(f"  statsmodels  {theirs_clock * scale:7.2f} s (processor {theirs_work * scale:.2f} s), scaled from {few}")
    print(f"  {ratio:.0f} times in processor time ({theirs_clock * scale / clock:.0f} by the clock)"
          + (f", wanted {wanted}" if wanted else ""))  # fmt: skip
    print(f"  greatest relative difference of values: {largest_gap(ours[:few], found):.1e} at statsmodels' tolerance, "
          f"{tight:.1e} with it tight ({TIGHT_DRAWS} draws)")  # fmt: skip
    return ratio >= wanted and tight <= AGREEMENT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2_000, help="bootstrap draws")
    parser.add_argument("--statsmodels", type=int, default=200, help="draws that statsmodels is timed on")
    given = parser.parse_args()
    rng = np.random.default_rng(20150401)
    people = make_people(rng=rng)
    counts = draw_counts(people, replicates=given.replicates, rng=rng)
    few = min(given.statsmodels, given.replicates)
    models = (
        ("Gamma regression, log link", run_gamma, loop_gamma, WANTED),
        ("Doubly robust cost difference, in proportion", run_proportion, loop_proportion, WANTED),
        ("Doubly robust cost difference, in pounds", run_pounds, loop_pounds, 0),
    )
    with threadpool_limits(limits=1):
        good = [compare(name, people, counts, few, *model) for name, *model in models]
        improved = DrCostOptions(scale_of_trend="difference")
        clock, work, _ = timed(lambda: compute_dr_cost_draws(people, counts, options=improved))
    print(f"\nThe same in pounds, improved estimator: evalkit {clock:.2f} s (processor {work:.2f} s)")
    if not all(good):
        raise SystemExit(f"a model is less than {WANTED} times faster, or its values differ by more than {AGREEMENT:g}")


if __name__ == "__main__":
    main()
