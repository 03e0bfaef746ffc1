"""Permutation inference over 32 boroughs for Poisson difference-in-differences, beside a loop of regressions.

    python benchmarks/permutation_speed.py

The whole of it is the estimate, the p-value and both ends of the interval. The peer fits one Poisson regression
with dummies a borough, which is what the p-value of no effect alone needs; ratios compare like with like.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speed import compare, placebos_by_regression, timed  # noqa: E402

from evalkit.cohort.panel import Panel  # noqa: E402
from evalkit.estimators.area.contrasts import Design  # noqa: E402
from evalkit.estimators.area.randomisation import permutation_inference  # noqa: E402
from evalkit.estimators.area.rates import RateOptions, estimate_placebos, estimate_rate_ratio_did  # noqa: E402
from evalkit.estimators.area.synthetic_control import difference_in_differences, synthetic_control  # noqa: E402
from tests.panels import ESTIMAND, make_panel  # noqa: E402

LIMIT_SECONDS = 2.0


def ends_by(panel: Panel, design: Design) -> np.ndarray:
    found = permutation_inference(panel, design, scale="rate_ratio", level=0.95)
    return np.array([found.lower, found.upper])


def main() -> None:
    panel, _ = make_panel(np.random.default_rng(1), units=32, periods=25, adopted=12, mean=20, ratio=0.7)

    def whole() -> np.ndarray:
        found = estimate_rate_ratio_did(panel, ESTIMAND, rng=np.random.default_rng(0))
        return np.array([found.value, found.lower, found.upper, found.p_value])

    seconds, found = timed(whole)
    verdict = "within" if seconds < LIMIT_SECONDS else "OVER"
    print(
        f"Poisson DiD, 32 boroughs by 25 quarters, estimate, p-value and interval: {seconds:.4f} s, "
        f"{verdict} {LIMIT_SECONDS:.0f} s (ratio {found[0]:.3f}, {found[1]:.3f} to {found[2]:.3f}, p {found[3]:.3f})"
    )
    for design in (difference_in_differences, synthetic_control):
        own, _ = timed(lambda design=design: ends_by(panel, design))
        print(f"The same by {design.__name__} on rates, p-value and interval: {own:.4f} s")
    compare(
        "32 placebo analyses of no effect",
        "statsmodels",
        lambda: estimate_placebos(panel, options=RateOptions(), rng=np.random.default_rng(0))["log_ratio"].to_numpy(),
        lambda: placebos_by_regression(panel),
    )


if __name__ == "__main__":
    main()
