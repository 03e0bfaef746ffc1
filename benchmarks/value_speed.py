"""Probabilistic draws through CEAC, CEAF and EVPI at speed, beside the loop that a careful user writes.

    python benchmarks/value_speed.py [--draws 10000] [--strategies 10] [--thresholds 501] [--repeats 5]

The loop goes over thresholds and makes net benefits of all draws and strategies anew at each, as R packages do. Both
sides get the same draws and their values are compared. Then the value of information on 1 and on 5 parameters, and a
million draws with the peak of memory, beside the bytes of the draws themselves and of all net benefits had they been
held at once.

Set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 for one thread. The fastest of some repeats is shown: others' work on
the machine lengthens the rest.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd

from evalkit.economics.draws import Psa
from evalkit.economics.evppi import compute_evppi
from evalkit.economics.net_benefit import compute_acceptability

SECONDS_WANTED, AGREEMENT = 1.0, 1e-9


def make_draws(n_draws: int, n_strategies: int, *, rng: np.random.Generator) -> Psa:
    """Correlated skewed costs and effects, driven by 5 parameters, so that every strategy is at times the best."""
    inputs = rng.normal(size=(n_draws, 5))
    effects = 5 + inputs @ rng.normal(scale=0.2, size=(5, n_strategies)) + np.linspace(0, 1, n_strategies)
    costs = 10_000 * (1 + np.linspace(0, 2, n_strategies)) * rng.gamma(4, 0.25, size=(n_draws, n_strategies))
    names = tuple(f"strategy {j + 1}" for j in range(n_strategies))
    parameters = pd.DataFrame(inputs, columns=[f"p{j + 1}" for j in range(5)])
    return Psa(names, costs, effects + rng.normal(scale=0.2, size=effects.shape), "QALY", parameters)


def by_loop(psa: Psa, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CEAC (T, K), CEAF (T,) and EVPI (T,), one threshold after another."""
    ceac, ceaf, evpi = [], [], []
    for k in thresholds:
        benefit = k * psa.effects - psa.costs_gbp
        best = benefit.argmax(axis=1)
        share = np.array([(best == j).mean() for j in range(psa.n_strategies)])
        expected = benefit.mean(axis=0)
        ceac.append(share)
        ceaf.append(share[expected.argmax()])
        evpi.append(benefit.max(axis=1).mean() - expected.max())
    return np.array(ceac), np.array(ceaf), np.array(evpi)


def fastest(call: Callable[[], object], repeats: int) -> tuple[float, float, object]:
    """Seconds of the clock and of the processor, the least of `repeats`, and the result."""
    clock, work = [], []
    for _ in range(repeats):
        start, begun = time.perf_counter(), time.process_time()
        result = call()
        clock.append(time.perf_counter() - start)
        work.append(time.process_time() - begun)
    return min(clock), min(work), result


def measure_memory(n_draws: int, n_strategies: int, n_thresholds: int) -> tuple[float, float]:
    """Megabytes that are taken at the peak beyond the draws themselves, and seconds (while memory is traced)."""
    psa = make_draws(n_draws, n_strategies, rng=np.random.default_rng(2))
    tracemalloc.start()
    start = time.perf_counter()
    compute_acceptability(psa, np.linspace(0, 50_000, n_thresholds))
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--strategies", type=int, default=10)
    parser.add_argument("--thresholds", type=int, default=501)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    psa = make_draws(asked.draws, asked.strategies, rng=np.random.default_rng(1))
    thresholds = np.linspace(0, 50_000, asked.thresholds)
    clock, work, found = fastest(lambda: compute_acceptability(psa, thresholds), asked.repeats)
    loop_clock, loop_work, (ceac, ceaf, evpi) = fastest(lambda: by_loop(psa, thresholds), asked.repeats)
    far = max(
        np.abs(found.probability - ceac).max(),
        np.abs(found.frontier_probability - ceaf).max(),
        np.abs(found.evpi_gbp - evpi).max() / np.abs(evpi).max(),
    )
    print(f"{asked.draws:,} draws x {asked.strategies} strategies x {asked.thresholds} thresholds: CEAC, CEAF, EVPI")
    print(
        f"  evalkit  {clock:7.3f} s of the clock, {work:7.3f} s of the processor (wanted: under {SECONDS_WANTED:g} s)"
    )
    print(f"  loop     {loop_clock:7.3f} s of the clock, {loop_work:7.3f} s of the processor")
    print(f"  ratio    {loop_work / work:7.1f} of the processor; values differ by {far:.1e} at most")
    for names in (["p1"], [f"p{j + 1}" for j in range(5)]):
        rng = np.random.default_rng(3)
        seconds, _, one = fastest(lambda n=names, r=rng: compute_evppi(psa, n, 20_000, rng=r), 1)
        print(f"EVPPI of {len(names)} at GBP 20,000: {seconds:6.2f} s; GBP {one.value_gbp:,.0f}, se {one.se_gbp:,.0f}, "
              f"of an EVPI of GBP {one.evpi_gbp:,.0f}")  # fmt: skip
    million = (1_000_000, asked.strategies, 21)
    grown, seconds = measure_memory(*million)
    held, all_at_once = (8 * million[0] * million[1] * factor / 2**20 for factor in (2, million[2]))
    print(f"1,000,000 draws x {asked.strategies} x 21 thresholds: {seconds:.1f} s, peak {grown:,.1f} MB over draws "
          f"of {held:,.0f} MB; net benefits held at once would take {all_at_once:,.0f} MB")  # fmt: skip
    ok = clock < SECONDS_WANTED and far < AGREEMENT and grown < all_at_once / 4
    print("all as wanted" if ok else "NOT as wanted")
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
