"""Options of difference-in-differences by two-way fixed effects, and what may go with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.estimators.area.did_cells import cluster_faults, covariate_faults
from evalkit.estimators.area.twfe import ClusterBy, Family, SmallSample

Errors = Literal[
    "cluster",
    "iid",
    "heteroskedastic",
    "newey_west",
    "driscoll_kraay",
    "wild_bootstrap",
    "conley_taber",
    "permutation",
]
_SCALE = {"gaussian": "mean_difference", "poisson": "rate_ratio"}
_GAUSSIAN_ONLY = ("wild_bootstrap", "conley_taber", "permutation")
_WITH_LAGS = ("newey_west", "driscoll_kraay")


@dataclass(frozen=True)
class DidOptions:
    """Options of `estimate_did` and `estimate_did_event_study`.

    Attributes
    ----------
    family : "gaussian" is least squares on `panel.values` weighted by `panel.weights`; "poisson" is Poisson
        quasi-likelihood on `panel.outcome` with offset log(denominator)
    errors : how the interval is had
    cluster_by : whose errors go together, with errors="cluster"
    clusters : coarser clusters, from each unit to its cluster; for "cluster" and "wild_bootstrap"
    covariates : names of covariates of the panel
    exposure : a covariate that holds the share of each unit-period under treatment, in place of 0 and 1
    lags : of Newey-West and Driscoll-Kraay; floor(T^(1/4)) where None
    replicates : draws of "wild_bootstrap", "conley_taber" and, with several treated, "permutation"
    wild_weights, wild_residuals : see `WildOptions`
    small_sample : see `compute_twfe`
    anticipation_periods : periods before adoption that belong neither before nor after; in an event
        study the reference lies before them
    """

    family: Family = "gaussian"
    errors: Errors = "cluster"
    cluster_by: ClusterBy = "unit"
    clusters: Mapping[object, object] | None = None
    covariates: tuple[str, ...] = ()
    exposure: str | None = None
    lags: int | None = None
    level: float = 0.95
    replicates: int = 9_999
    wild_weights: Literal["rademacher", "webb"] = "rademacher"
    wild_residuals: Literal["restricted", "unrestricted"] = "restricted"
    small_sample: SmallSample = "fixest"
    anticipation_periods: int = 0


def refuse_bad_options(panel: Panel, estimand: Estimand, options: DidOptions) -> None:
    """Raise ParameterError with every option that is unknown, out of range or at odds with another."""
    faults = [*_choice_faults(options)]
    if not faults:
        faults += [*_scale_faults(estimand, options), *_number_faults(panel, options), *_clash_faults(panel, options)]
    faults += cluster_faults(panel, options.clusters)
    faults += covariate_faults(panel, options.covariates, "covariates")
    if options.exposure is not None:
        missing = covariate_faults(panel, (options.exposure,), "exposure")
        faults += missing or _exposure_faults(panel, options.exposure)
    if faults:
        raise ParameterError(faults)


def _choice_faults(options: DidOptions) -> list[Fault]:
    choices = {
        "family": Family,
        "errors": Errors,
        "cluster_by": ClusterBy,
        "small_sample": SmallSample,
        "wild_weights": Literal["rademacher", "webb"],
        "wild_residuals": Literal["restricted", "unrestricted"],
    }
    faults = []
    for name, kind in choices.items():
        got, allowed = getattr(options, name), get_args(kind)
        if got not in allowed:
            faults.append(Fault(name, "no such choice", repr(got), ", ".join(allowed), suggest_name(str(got), allowed)))
    return faults


def _scale_faults(estimand: Estimand, options: DidOptions) -> list[Fault]:
    scale = _SCALE[options.family]
    if estimand.scale == scale:
        return []
    other = {v: k for k, v in _SCALE.items()}.get(estimand.scale)
    hint = f'Use family="{other}" for this scale.' if other else ""
    return [Fault("estimand", f"a {options.family} regression gives no {estimand.scale}", "", scale, hint)]


def _number_faults(panel: Panel, options: DidOptions) -> list[Fault]:
    faults = []
    if not 0 < options.level < 1:
        faults.append(Fault("level", "it is no probability", str(options.level), "between 0 and 1, such as 0.95"))
    if options.replicates < 99:
        faults.append(Fault("replicates", "too few for an interval", str(options.replicates), "99 or more"))
    if options.anticipation_periods < 0:
        faults.append(Fault("anticipation_periods", "below 0", str(options.anticipation_periods)))
    if options.lags is not None and not 0 <= options.lags < len(panel.periods):
        faults.append(Fault("lags", "not within the panel", str(options.lags), f"0 to {len(panel.periods) - 1}"))
    return faults


def _clash_faults(panel: Panel, options: DidOptions) -> list[Fault]:
    """Options that have no meaning beside others: refused, so that none is ignored in silence."""
    errors, faults = options.errors, []
    asked = f'with errors="{errors}"'
    if options.family == "poisson" and errors in _GAUSSIAN_ONLY:
        step = "For ratios with few treated units use estimate_rate_ratio_did (permutation)."
        faults.append(Fault("errors", f'"{errors}" is for family="gaussian" only', next_step=step))
    if options.cluster_by != "unit" and errors != "cluster":
        faults.append(Fault("cluster_by", f"it has no meaning {asked}", options.cluster_by))
    if options.clusters is not None and (errors not in ("cluster", "wild_bootstrap") or options.cluster_by == "period"):
        faults.append(Fault("clusters", f'coarser clusters have no meaning {asked}, cluster_by="{options.cluster_by}"'))
    if errors in _WITH_LAGS and not panel.consecutive:
        faults.append(Fault("panel", f"its periods leave gaps, and lags have no meaning then {asked}"))
    if options.lags is not None and errors not in _WITH_LAGS:
        faults.append(Fault("lags", f"they have no meaning {asked}", allowed=" or ".join(_WITH_LAGS)))
    weighted = not np.all(panel.weights == panel.weights.flat[0])
    if weighted and errors in ("conley_taber", "permutation"):
        faults.append(Fault("panel", f"weights cannot be used {asked}", next_step="Build the panel without weights."))
    if errors == "permutation" and (options.covariates or options.exposure is not None):
        faults.append(Fault("errors", 'covariates and shares of exposure cannot be used with "permutation"'))
    return faults


def _exposure_faults(panel: Panel, name: str) -> list[Fault]:
    share = panel.covariates[:, :, panel.covariate_names.index(name)]
    faults = []
    if (share < 0).any() or (share > 1).any():
        faults.append(Fault("exposure", f'"{name}" is no share', allowed="0 to 1"))
    if share[~panel.treated].any():
        faults.append(Fault("exposure", f'"{name}" is above 0 in units that are never treated'))
    starts = np.searchsorted(panel.ends, panel.adoption[panel.treated], side="right")
    early = np.arange(len(panel.periods)) < starts[:, None]
    if share[panel.treated][early].any():
        faults.append(Fault("exposure", f'"{name}" is above 0 before adoption'))
    return faults
