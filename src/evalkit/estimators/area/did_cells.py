"""From a panel to the cells of a two-way fixed effects regression, with every fault named at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.estimators.area.twfe import Cells, Family, partial_out

_FEWER_ZEROS = "Take longer periods, more units to compare with, or differences in rates (family='gaussian')."
_NO_VARIATION = 1e-10  # share of the outcome's spread that unit and period effects must leave


def adoption_places(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """For each unit the first period wholly after its adoption, and the period adoption falls in or before.

    Float arrays, shape (J,); NaN for never. They differ where adoption falls within a period.
    """
    after, within = np.full(len(panel.units), np.nan), np.full(len(panel.units), np.nan)
    starts = panel.adoption[panel.treated]
    after[panel.treated] = np.searchsorted(panel.periods, starts)
    within[panel.treated] = np.searchsorted(panel.ends, starts, side="right")
    return after, within


def cluster_codes(panel: Panel, clusters: Mapping[object, object] | None) -> np.ndarray:
    """Code of each unit's cluster, shape (J,): the unit itself where no coarser clusters are given."""
    if clusters is None:
        return np.arange(len(panel.units))
    named = [str(clusters[u]) for u in panel.units]
    return np.unique(named, return_inverse=True)[1]


def cluster_faults(panel: Panel, clusters: Mapping[object, object] | None) -> list[Fault]:
    """Units without a cluster, and names in `clusters` that are no unit."""
    if clusters is None:
        return []
    known = set(panel.units.tolist())
    missing = sorted(str(u) for u in known - set(clusters))
    strange = sorted(str(u) for u in set(clusters) - known)
    faults = []
    if missing:
        faults.append(Fault("clusters", f"{len(missing)} units are given none", got=", ".join(missing[:5])))
    if strange:
        near = suggest_name(strange[0], [str(u) for u in panel.units])
        faults.append(Fault("clusters", f'"{strange[0]}" is no unit of the panel', next_step=near))
    return faults


def covariate_faults(panel: Panel, names: tuple[str, ...], where: str) -> list[Fault]:
    """Names that are no covariate of the panel."""
    return [
        Fault(
            where,
            f'the panel has no covariate "{name}"',
            allowed=", ".join(panel.covariate_names) or "none: the panel was built without covariates",
            next_step=suggest_name(name, panel.covariate_names),
        )
        for name in names
        if name not in panel.covariate_names
    ]


def refuse_bad_panel(panel: Panel, family: Family) -> None:
    """Raise where values cannot be used, or adoption leaves a treated unit nothing before or after.

    `Panel.from_frame` refuses most of this; a panel may also be put together by hand.
    """
    faults = []
    if not (np.isfinite(panel.denominator).all() and (panel.denominator > 0).all()):
        faults.append(Fault("panel", "denominators must be finite and above 0"))
    if not (np.isfinite(panel.weights).all() and (panel.weights > 0).all()):
        faults.append(Fault("panel", "weights must be finite and above 0"))
    if not np.isfinite(panel.outcome).all():
        faults.append(Fault("panel", "outcomes must be finite"))
    elif family == "poisson" and (panel.outcome < 0).any():
        faults.append(Fault("panel", "a Poisson regression needs outcomes of 0 or more"))
    if faults:
        raise ParameterError(faults)
    if not panel.treated.any():
        raise NotEstimable(Fault("panel", "no unit is treated"))
    after, within = adoption_places(panel)
    if len(panel.units) < 2:
        faults.append(Fault("panel", "one unit has none to compare with", next_step="Use estimate_its."))
    if np.nanmax(after) >= len(panel.periods):
        faults.append(Fault("panel", "a treated unit has no period wholly after its adoption"))
    if np.nanmin(within) < 1:
        faults.append(Fault("panel", "a treated unit has no period wholly before its adoption"))
    if faults:
        raise NotEstimable(faults)


def static_exposure(panel: Panel, *, anticipation_periods: int, exposure: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Exposure to treatment (J, T), and which cells take part, bool (J, T).

    The period in which adoption falls, and those of anticipation before it, belong neither before nor
    after and are left out for that unit. Where a covariate gives the share of each period under
    treatment, it stands as it is and no cell is left out for adoption within a period.
    """
    after, within = adoption_places(panel)
    place = np.arange(len(panel.periods))
    if exposure is not None:
        share = panel.covariates[:, :, panel.covariate_names.index(exposure)]
        kept = ~((place >= within[:, None] - anticipation_periods) & (place < within[:, None]))
    else:
        share = (place >= after[:, None]).astype(np.float64)
        kept = (share > 0) | ~(place >= within[:, None] - anticipation_periods)
    faults = []
    if not (kept & (share == 0))[panel.treated].any(axis=1).all():
        faults.append(
            Fault("anticipation_periods", "they leave a treated unit no period before", next_step="Use fewer.")
        )
    if not (share[panel.treated] > 0).any(axis=1).all():
        faults.append(Fault("exposure", "a treated unit has none"))
    if faults:
        raise NotEstimable(faults)
    return share, kept


def event_steps(panel: Panel, *, reference: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps from adoption, int (K,), without `reference`, and their indicators (J, T, K).

    Step 0 is the period that adoption falls in.
    """
    _, within = adoption_places(panel)
    offset = np.arange(len(panel.periods)) - within[:, None]
    steps = np.unique(offset[~np.isnan(offset)]).astype(np.int64)
    steps = steps[steps != reference]
    return steps, (offset[:, :, None] == steps).astype(np.float64)


def build_cells(
    panel: Panel,
    effects: np.ndarray,
    kept: np.ndarray,
    *,
    family: Family,
    covariates: tuple[str, ...],
    clusters: Mapping[object, object] | None,
) -> Cells:
    """One row a cell that takes part: `effects` (J, T, K), `kept` bool (J, T)."""
    unit, period = np.nonzero(kept)
    places = [panel.covariate_names.index(name) for name in covariates]
    poisson = family == "poisson"
    return Cells(
        unit=np.unique(unit, return_inverse=True)[1],
        period=np.unique(period, return_inverse=True)[1],
        cluster=np.unique(cluster_codes(panel, clusters)[unit], return_inverse=True)[1],
        outcome=(panel.outcome if poisson else panel.values)[kept],
        weights=panel.weights[kept],
        offset=np.log(panel.denominator[kept]) if poisson else np.zeros(len(unit)),
        effects=effects[kept],
        covariates=panel.covariates[kept][:, places],
        covariate_names=covariates,
    )


def refuse_no_variation(cells: Cells, family: Family) -> None:
    """Raise NotEstimable where cells are too few, or the outcome, or events at some step, leave nothing to estimate."""
    n_coefficients = (cells.unit.max() + cells.period.max() + 1) + cells.effects.shape[1] + cells.covariates.shape[1]
    if len(cells.outcome) <= n_coefficients:
        raise NotEstimable(
            Fault(
                "panel",
                "there are no more unit-periods than coefficients, so nothing tells how far the number may stray",
                got=f"{len(cells.outcome)} unit-periods, {n_coefficients} coefficients",
            )
        )
    if family == "gaussian":
        columns = partial_out(np.column_stack([cells.outcome, cells.covariates, cells.effects]), cells)
        y, x = columns[:, 0], columns[:, 1:]
        size = _NO_VARIATION * max(np.linalg.norm(cells.outcome), 1e-300)
        if np.linalg.norm(y) <= size:
            raise NotEstimable(Fault("outcome", "it does not vary beyond unit and period effects"))
        if np.linalg.norm(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) <= size:
            raise NotEstimable(
                Fault("outcome", "the regression fits it perfectly, so nothing tells how far the number may stray")
            )
        return
    exposed = cells.effects != 0
    ever = np.isin(cells.unit, cells.unit[exposed.any(axis=1)])
    faults = []
    if (cells.outcome @ exposed == 0).any():
        faults.append(Fault("treated units", "they had no event at a time whose effect is wanted: the ratio is 0"))
    if cells.outcome[ever & ~exposed.any(axis=1)].sum() == 0:
        faults.append(Fault("treated units", "they had no event before adoption, so a ratio has no meaning"))
    if np.isin(cells.effects, (0.0, 1.0)).all():
        faults += _separation_faults(cells, exposed, ever)
    if faults:
        raise NotEstimable(faults)


def _separation_faults(cells: Cells, exposed: np.ndarray, ever: np.ndarray) -> list[Fault]:
    """Times at which only treated units had events, so that no ratio is finite (Santos Silva and Tenreyro 2010).

    `exposed` bool (n, K); `ever`, cells of units that are exposed at some time, bool (n,). What is named here
    has no estimate; rarer patterns show in coefficients without bound, which `compute_twfe` refuses.
    """
    faults = []
    for column in exposed.T:
        beside = ~column & np.isin(cells.period, cells.period[column])
        if cells.outcome[beside].sum() == 0:
            text = "they had no event at a time whose effect is wanted, so a ratio has no bound"
            faults.append(Fault("comparison units", text, next_step=_FEWER_ZEROS))
            break
    any_exposed = exposed.any(axis=1)
    after = np.isin(cells.period, cells.period[any_exposed])
    # With one time of adoption all periods without exposure lie before it, or are the reference.
    if not (ever & after & ~any_exposed).any() and cells.outcome[~ever & ~after].sum() == 0:
        text = "they had no event before adoption, or in the reference period, so a ratio has no bound"
        faults.append(Fault("comparison units", text, next_step=_FEWER_ZEROS))
    return faults


def silent_rows(panel: Panel, kept: np.ndarray) -> np.ndarray:
    """Cells of units, or of periods, without any event, bool (J, T): they say nothing of a ratio."""
    events = np.where(kept, panel.outcome, 0.0)
    return (events.sum(axis=1) == 0)[:, None] | (events.sum(axis=0) == 0)[None, :]
