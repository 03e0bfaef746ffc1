"""Whether every estimator of cost keeps its word: coverage, size and bias on people whose true costs are known.

    python benchmarks/cost_truth.py --replicates 400 --people 200 600 --jobs 2 --only cost_gamma "doubly robust"

Worlds are those of `simulate.cost_worlds` and `simulate.cost_events`: skew, people who cost nothing, prices that move,
trends in proportion or in pounds, wrong models, clusters, people who move away, groups chosen for recent use, cost and
effect that go together; with 200 and 600 people, with an effect and, where that says something of its own, without. As
`person_truth.py`, by which it runs; beside the estimators run those that a world is made to show wrong.
"""

from __future__ import annotations

from cost_truth_worlds import WORLDS
from person_truth import ROOT, main, run_replicates

FLOOR = 0.93


def run_cost_replicates(*task: object) -> list[tuple]:
    """As `run_replicates`, on the worlds of costs; a function of its own, so that other processes find it by name."""
    return run_replicates(*task, worlds=WORLDS)


if __name__ == "__main__":
    main(__doc__, WORLDS, out=ROOT / "build" / "cost_truth.csv", run=run_cost_replicates, floor=FLOOR)
