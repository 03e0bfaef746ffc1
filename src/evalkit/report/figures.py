"""Every figure and its alt text, in one place.

Each `plot_*` takes tidy rows in the columns of the results glossary and returns a matplotlib Figure;
each `describe_*` beside it takes the same and returns alt text made from the numbers.
"""

from evalkit.report.figures_balance import describe_overlap, plot_overlap
from evalkit.report.figures_checks import (
    describe_drop_one,
    describe_placebo_time,
    describe_sensitivity_curve,
    describe_weights,
    plot_drop_one,
    plot_placebo_time,
    plot_sensitivity_curve,
    plot_weights,
)  # fmt: skip
from evalkit.report.figures_designs import describe_designs, describe_displacement, plot_designs, plot_displacement
from evalkit.report.figures_effects import (
    describe_balance,
    describe_forest,
    describe_placebo,
    plot_balance,
    plot_forest,
    plot_placebo,
)  # fmt: skip
from evalkit.report.figures_pathway import (
    describe_differences,
    describe_mean_count,
    describe_moves,
    describe_places,
    plot_differences,
    plot_mean_count,
    plot_moves,
    plot_places,
)  # fmt: skip
from evalkit.report.figures_people import (
    describe_flow,
    describe_ratio_icons,
    describe_risk_icons,
    plot_flow,
    plot_ratio_icons,
    plot_risk_icons,
)  # fmt: skip
from evalkit.report.figures_series import (
    describe_gap,
    describe_its,
    describe_synthetic,
    describe_xmr,
    plot_gap,
    plot_its,
    plot_synthetic,
    plot_xmr,
)  # fmt: skip
from evalkit.report.figures_time import (
    describe_cost_trend,
    describe_curve,
    describe_event_study,
    describe_trend,
    plot_cost_trend,
    plot_curve,
    plot_event_study,
    plot_trend,
    trend_groups,
)  # fmt: skip

__all__ = [
    "describe_balance", "describe_cost_trend", "describe_curve", "describe_designs",
    "describe_differences", "describe_displacement", "describe_drop_one", "describe_event_study", "describe_flow",
    "describe_forest", "describe_gap", "describe_its", "describe_mean_count", "describe_moves", "describe_overlap",
    "describe_placebo", "describe_placebo_time", "describe_places", "describe_ratio_icons", "describe_risk_icons",
    "describe_sensitivity_curve", "describe_synthetic", "describe_trend", "describe_weights", "describe_xmr",
    "plot_balance", "plot_cost_trend", "plot_curve", "plot_designs", "plot_differences",
    "plot_displacement", "plot_drop_one", "plot_event_study", "plot_flow", "plot_forest", "plot_gap", "plot_its",
    "plot_mean_count", "plot_moves", "plot_overlap", "plot_placebo", "plot_placebo_time", "plot_places",
    "plot_ratio_icons", "plot_risk_icons", "plot_sensitivity_curve", "plot_synthetic", "plot_trend", "plot_weights",
    "plot_xmr", "trend_groups",
]  # fmt: skip
