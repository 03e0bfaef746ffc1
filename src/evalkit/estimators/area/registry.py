"""Every estimator of an area-level effect by the name that protocols use, so that one test runs over all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Estimate, Role
from evalkit.estimators.area.did import DidOptions, estimate_did
from evalkit.estimators.area.did_options import Errors
from evalkit.estimators.area.gate import refuse_few_treated
from evalkit.estimators.area.group_time import Method as StaggeredMethod
from evalkit.estimators.area.group_time import StaggeredOptions
from evalkit.estimators.area.its import ItsOptions, estimate_its
from evalkit.estimators.area.rates import RateOptions, estimate_rate_ratio_did
from evalkit.estimators.area.scales import as_rate_ratio
from evalkit.estimators.area.staggered import estimate_staggered
from evalkit.estimators.area.synthetic_control import (
    Inference,
    Method,
    SyntheticControlOptions,
    estimate_synthetic_control,
)

Run = Callable[[Panel, Estimand, float, np.random.Generator, Role], Estimate]

_RATIO: tuple[Scale, ...] = ("rate_ratio",)
_DIFFERENCE: tuple[Scale, ...] = ("mean_difference",)
_BOTH: tuple[Scale, ...] = ("rate_ratio", "mean_difference")
_SERIES: tuple[Scale, ...] = ("rate_ratio", "mean_difference", "level_change", "slope_change")
_LEVEL_SERIES: tuple[Scale, ...] = ("rate_ratio", "mean_difference", "level_change")
_COUNT_SERIES: tuple[Scale, ...] = ("rate_ratio", "level_ratio", "slope_ratio")


@dataclass(frozen=True)
class AreaEstimator:
    """One public estimator with fixed options.

    Attributes
    ----------
    name : the stable name in protocols and results
    label : the name in words
    scales : scales of the estimands that it supports
    run : `(panel, estimand, level, rng, role) -> Estimate`; raises as the estimator does
    needs : what a panel must have for an interval, in words
    """

    name: str
    label: str
    scales: tuple[Scale, ...]
    run: Run
    needs: str


def _entry(name: str, label: str, native: tuple[Scale, ...], needs: str, run: Run) -> AreaEstimator:
    # What is estimated as a difference alone is told as a ratio where one is asked for.
    scales = _BOTH if native == _DIFFERENCE else native

    def named(
        panel: Panel, estimand: Estimand, level: float, rng: np.random.Generator, role: Role = "sensitivity"
    ) -> Estimate:
        if estimand.scale not in scales:
            raise ParameterError(
                Fault(f'estimator "{name}"', "it does not know this scale", estimand.scale, " or ".join(scales))
            )
        _refuse_constant(panel)
        if estimand.scale in native:
            found = run(panel, estimand, level, rng, role)
        else:
            difference = replace(estimand, scale="mean_difference")
            found = as_rate_ratio(run(panel, difference, level, rng, role), panel, estimand)
        return replace(found, estimator=name, label=label)

    return AreaEstimator(name, label, scales, named, needs)


def _refuse_constant(panel: Panel) -> None:
    """A choice of units or periods may leave what `Panel.from_frame` would not have let through."""
    values = panel.values
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        raise NotEstimable(Fault("panel", "the outcome is the same in every unit-period, so its spread is not known"))


def _refuse_gaps(panel: Panel, asked: str) -> None:
    """Periods left out, as those of anticipation are, leave no meaning to lags and to time from adoption."""
    if panel.consecutive:
        return
    treated = int(panel.treated.sum())
    refuse_few_treated(treated, len(panel.units) - treated, asked=asked)
    raise NotEstimable(Fault("panel", f"its periods leave gaps, and {asked} needs them all"))


def _did(errors: Errors) -> Run:
    def run(panel: Panel, estimand: Estimand, level: float, rng: np.random.Generator, role: Role) -> Estimate:
        if errors in ("newey_west", "driscoll_kraay"):
            _refuse_gaps(panel, f'errors="{errors}"')
        family = "poisson" if estimand.scale == "rate_ratio" else "gaussian"
        options = DidOptions(family=family, errors=errors, level=level)
        return estimate_did(panel, estimand, options=options, rng=rng, role=role)

    return run


def _synthetic(method: Method, inference: Inference) -> Run:
    def run(panel: Panel, estimand: Estimand, level: float, rng: np.random.Generator, role: Role) -> Estimate:
        options = SyntheticControlOptions(method=method, inference=inference, level=level)
        return estimate_synthetic_control(panel, estimand, options=options, rng=rng, role=role)

    return run


def _staggered(method: StaggeredMethod) -> Run:
    def run(panel: Panel, estimand: Estimand, level: float, rng: np.random.Generator, role: Role) -> Estimate:
        _refuse_gaps(panel, f'method="{method}"')
        options = StaggeredOptions(method=method, level=level)
        return estimate_staggered(panel, estimand, options=options, rng=rng, role=role)

    return run


def _its(**chosen: object) -> Run:
    def run(panel: Panel, estimand: Estimand, level: float, rng: np.random.Generator, role: Role) -> Estimate:
        return estimate_its(panel, estimand, options=ItsOptions(level=level, **chosen), rng=rng, role=role)

    return run


def _poisson_permutation(
    panel: Panel, estimand: Estimand, level: float, rng: np.random.Generator, role: Role
) -> Estimate:
    return estimate_rate_ratio_did(panel, estimand, options=RateOptions(level=level), rng=rng, role=role)


_PLACEMENTS = "10 areas for a p-value, 20 for an interval at 95%"
_PERIODS = "3 comparators, and 20 periods for an interval at 95%"
_SEVERAL = "6 areas treated, at one time or several, and 6 not yet or never"
_TIME_SERIES = "3 periods before and 3 after one adoption, "

REGISTRY: tuple[AreaEstimator, ...] = (
    _entry(
        "poisson_did_permutation",
        "Poisson difference-in-differences, permutation interval",
        _RATIO,
        "10 areas for a number, 20 for an interval at 95%",
        _poisson_permutation,
    ),
    _entry(
        "twfe_cluster",
        "Two-way fixed effects, errors clustered by area",
        _BOTH,
        "6 treated and 6 untreated areas",
        _did("cluster"),
    ),
    _entry(
        "twfe_newey_west",
        "Two-way fixed effects, Newey–West errors",
        _BOTH,
        "residuals hardly correlated over time",
        _did("newey_west"),
    ),
    _entry(
        "twfe_driscoll_kraay",
        "Two-way fixed effects, Driscoll–Kraay errors",
        _BOTH,
        "residuals hardly correlated over time",
        _did("driscoll_kraay"),
    ),
    _entry(
        "twfe_wild_bootstrap",
        "Two-way fixed effects, wild cluster bootstrap",
        _DIFFERENCE,
        "several areas; with one treated it seldom finds anything",
        _did("wild_bootstrap"),
    ),
    _entry(
        "twfe_conley_taber",
        "Two-way fixed effects, interval of Conley and Taber",
        _DIFFERENCE,
        "10 never-treated areas for a number, 19 for an interval at 95%",
        _did("conley_taber"),
    ),
    _entry(
        "did_permutation",
        "Difference-in-differences, permutation interval",
        _BOTH,
        _PLACEMENTS,
        _synthetic("did", "permutation"),
    ),
    _entry(
        "did_conformal",
        "Difference-in-differences, conformal interval",
        _BOTH,
        _PERIODS,
        _synthetic("did", "conformal"),
    ),
    _entry(
        "synthetic_control",
        "Synthetic control, permutation interval",
        _BOTH,
        _PLACEMENTS + "; 2 periods before adoption",
        _synthetic("synthetic_control", "permutation"),
    ),
    _entry(
        "synthetic_control_conformal",
        "Synthetic control, conformal interval",
        _BOTH,
        _PERIODS + "; 2 periods before adoption",
        _synthetic("synthetic_control", "conformal"),
    ),
    _entry(
        "ridge_augmented",
        "Ridge-augmented synthetic control, permutation interval",
        _BOTH,
        _PLACEMENTS + "; 3 periods before adoption",
        _synthetic("ridge_augmented", "permutation"),
    ),
    _entry(
        "synthetic_did",
        "Synthetic difference-in-differences, permutation interval",
        _BOTH,
        _PLACEMENTS + "; 2 periods before adoption",
        _synthetic("synthetic_did", "permutation"),
    ),
    _entry(
        "synthetic_did_placebo",
        "Synthetic difference-in-differences, error from placebos",
        _BOTH,
        "10 comparators, of a size with the treated; 2 periods before adoption",
        _synthetic("synthetic_did", "placebo_sd"),
    ),
    _entry(
        "callaway_santanna",
        "Callaway and Sant'Anna group-time effects",
        _DIFFERENCE,
        _SEVERAL,
        _staggered("callaway_santanna"),
    ),
    _entry(
        "sun_abraham",
        "Sun and Abraham, interaction-weighted",
        _DIFFERENCE,
        _SEVERAL,
        _staggered("sun_abraham"),
    ),
    _entry(
        "imputation",
        "Borusyak, Jaravel and Spiess imputation",
        _DIFFERENCE,
        _SEVERAL,
        _staggered("imputation"),
    ),
    _entry(
        "its_reml_ar",
        "Interrupted time series, AR(1) errors by restricted likelihood",
        _SERIES,
        _TIME_SERIES + "20 periods for an interval; what else changed at adoption counts as effect",
        _its(),
    ),
    _entry(
        "its_level",
        "Interrupted time series, change of level only, AR(1) errors by restricted likelihood",
        _LEVEL_SERIES,
        _TIME_SERIES + "no change of trend; what else changed at adoption counts as effect",
        _its(slope="level"),
    ),
    _entry(
        "its_ml_ar",
        "Interrupted time series, AR(1) errors by maximum likelihood",
        _SERIES,
        _TIME_SERIES + "400 periods for an interval",
        _its(errors="ml_ar"),
    ),
    _entry(
        "its_newey_west",
        "Interrupted time series, Newey–West errors",
        _SERIES,
        _TIME_SERIES + "no interval holds at any length tried",
        _its(errors="newey_west"),
    ),
    _entry(
        "its_prais_winsten",
        "Interrupted time series, Prais–Winsten",
        _SERIES,
        _TIME_SERIES + "400 periods for an interval",
        _its(errors="prais_winsten"),
    ),
    _entry(
        "controlled_its",
        "Interrupted time series against pooled comparators, AR(1) errors by restricted likelihood",
        _SERIES,
        _TIME_SERIES + "1 comparator; 20 periods for an interval",
        _its(control="pooled"),
    ),
    _entry(
        "controlled_its_level",
        "Interrupted time series against pooled comparators, change of level only, AR(1) errors",
        _LEVEL_SERIES,
        _TIME_SERIES + "1 comparator; no change of trend against it",
        _its(control="pooled", slope="level"),
    ),
    _entry(
        "its_poisson",
        "Interrupted time series of counts, quasi-Poisson with AR(1) errors",
        _COUNT_SERIES,
        _TIME_SERIES + "events on both sides; 20 periods for an interval",
        _its(family="quasipoisson"),
    ),
    _entry(
        "controlled_its_poisson",
        "Interrupted time series of counts against pooled comparators, quasi-Poisson with AR(1) errors",
        _COUNT_SERIES,
        _TIME_SERIES + "1 comparator, events on both sides; 20 periods for an interval",
        _its(family="quasipoisson", control="pooled"),
    ),
)


def find_estimator(name: str) -> AreaEstimator:
    """The estimator of this name; raises ParameterError, with the nearest name, where there is none."""
    names = [e.name for e in REGISTRY]
    if name not in names:
        raise ParameterError(
            Fault("estimators", f'there is none called "{name}"', "", ", ".join(names), suggest_name(name, names))
        )
    return REGISTRY[names.index(name)]


def estimators_for(scale: Scale) -> tuple[AreaEstimator, ...]:
    """All estimators that support a scale, in the order of the registry."""
    return tuple(e for e in REGISTRY if scale in e.scales)
