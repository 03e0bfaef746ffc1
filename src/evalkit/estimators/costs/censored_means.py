"""Mean cost up to a horizon with censored follow-up: the numeric core, for many weightings of the same people at once.

With X the follow-up cut at the horizon L, D whether all cost up to X is all there is up to L, M(t) cost up to t, K the
probability of still being followed (`censored_weights`), S that of being alive, w weights and W their sum:

    available sample  sum w M / W                     complete case  sum w D M / sum w D
    bang_tsiatis      sum w D M / K(X) / W
    partitioned       sum over intervals k of sum w D_k M_k / K(X_k) / W,  X_k = min(X, end of k)
    zhao_tian         bang_tsiatis + sum over the censored of w (M(X) - mean of M(X) of those at risk) / K(X) / W
    lin_1997          sum over intervals k of S(start of k) x mean of M_k of those followed at the start of k
    lin_2000          least squares of M on group and covariates with weights w D / K(X)

Source: Bang and Tsiatis 2000, Biometrika 87:329; Zhao and Tian 2001, Biometrics 57:1002; Lin, Feuer, Etzioni and Wax
1997, Biometrics 53:419; Lin 2000, Biostatistics 1:35.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from evalkit.cohort.cost_history import CostHistory, compute_costs_until, compute_running_costs
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, is_finite, refuse, whole_faults
from evalkit.estimators.costs.censored_weights import (
    CensoringOptions,
    Observed,
    Paths,
    build_observed,
    censoring_faults,
    compute_paths,
    read_followed,
    require_followed,
)

CensoredEstimator = Literal[
    "available_sample", "complete_case", "bang_tsiatis", "bang_tsiatis_partitioned", "zhao_tian", "lin_1997", "lin_2000"
]
ESTIMATORS = (
    "available_sample", "complete_case", "bang_tsiatis", "bang_tsiatis_partitioned", "zhao_tian", "lin_1997", "lin_2000"
)  # fmt: skip
NAIVE = ("available_sample", "complete_case")
_BY_INTERVAL = ("bang_tsiatis_partitioned", "lin_1997")
_PUBLISHED = (*NAIVE, "bang_tsiatis", "zhao_tian")


@dataclass(frozen=True)
class CensoredCostOptions:
    """How mean cost from day 0 to `horizon_days` is estimated.

    `interval_ends`: rising days at which the partitioned estimator and Lin's of 1997 cut time, the last of them the
    horizon, and the periods of a logistic model of censoring; empty for every day on which anybody is censored, which
    loses least. `divide_by`: "people" (Horvitz-Thompson, as published) or "weights" (Hajek: the weights of those whose
    cost was seen), for bang_tsiatis and the partitioned. `errors`: "influence", by cluster, with K estimated (a model
    of censoring is taken as known, which makes them too large on average); "published", Bang and Tsiatis's and Zhao
    and Tian's formulas as R's ccostr writes them; "bootstrap" of `replicates` draws of clusters within groups.
    `unfollowed`: where in a group nobody is followed to the horizon, "refuse", or "nothing": count what the last would
    have cost thereafter as nothing, as ccostr does.
    """

    horizon_days: float
    estimator: CensoredEstimator = "bang_tsiatis_partitioned"
    interval_ends: tuple[float, ...] = ()
    censoring: CensoringOptions = field(default_factory=CensoringOptions)
    divide_by: Literal["people", "weights"] = "people"
    errors: Literal["influence", "published", "bootstrap"] = "influence"
    unfollowed: Literal["refuse", "nothing"] = "refuse"
    replicates: int = 1000


@dataclass(frozen=True)
class RiskCell:
    """People of one group and layer (`rows`) on its days of censoring (`days`, places in the grid).

    `running` (n, C) is cost up to each day of those at risk on it and 0 of others, `there` (n, C) who is; `lost`
    (n, C) is 1 on the day of a person's own censoring.
    """

    rows: np.ndarray
    layer: int
    days: np.ndarray
    running: np.ndarray
    there: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True)
class CostDesign:
    """All that an estimator needs of a history, laid out once.

    `total` (n,) GBP up to the end of observation; `ends` (m,) and `places` (m,) where K is read for them; `parts`
    (n, m) GBP by interval; `cells` of Zhao and Tian; `x` (n, p) of the regression: intercept, groups but the first,
    covariates. What an estimator does not use is empty.
    """

    history: CostHistory
    options: CensoredCostOptions
    observed: Observed
    total: np.ndarray
    ends: np.ndarray
    places: np.ndarray
    parts: np.ndarray
    cells: tuple[RiskCell, ...]
    x: np.ndarray

    @property
    def n_groups(self) -> int:
        return int(self.history.group.max()) + 1

    @property
    def through(self) -> np.ndarray:
        """Who was followed through each interval, bool (n, m)."""
        return self.observed.time[:, None] >= self.ends


def option_faults(options: CensoredCostOptions, history: CostHistory) -> list[Fault]:
    """What is wrong with the options, or with a history for them."""
    faults = choice_faults("estimator", options.estimator, ESTIMATORS)
    faults += choice_faults("divide_by", options.divide_by, ("people", "weights"))
    faults += choice_faults("errors", options.errors, ("influence", "published", "bootstrap"))
    faults += choice_faults("unfollowed", options.unfollowed, ("refuse", "nothing"))
    faults += whole_faults("replicates", options.replicates, least=2)
    faults += censoring_faults(options.censoring, history)
    if not (is_finite(options.horizon_days) and options.horizon_days > 0):
        faults.append(Fault("horizon_days", "must be finite and positive", got=str(options.horizon_days)))
    elif options.horizon_days > history.recorded_days:
        what = "costs were not recorded that long"
        faults.append(Fault("horizon_days", what, f"{options.horizon_days:g}", f"up to {history.recorded_days:g}"))
    ends = options.interval_ends
    if ends and not (all(map(is_finite, ends)) and ends[0] > 0 and (np.diff(ends) > 0).all()):
        faults.append(Fault("interval_ends", "must be positive days that rise"))
    elif ends and ends[-1] != options.horizon_days:
        faults.append(Fault("interval_ends", "the last is not the horizon", f"{ends[-1]:g}", f"{options.horizon_days}"))
    return faults or _clashes(options, history)


def _clashes(options: CensoredCostOptions, history: CostHistory) -> list[Fault]:
    faults = []
    kind, model = options.estimator, options.censoring.model
    if model == "logistic" and not options.interval_ends:
        faults.append(Fault("interval_ends", "a logistic model of censoring needs periods"))
    if model != "kaplan_meier" and kind in ("zhao_tian", "lin_1997"):
        step = 'Use estimator="bang_tsiatis_partitioned".'
        faults.append(Fault("model", f"{kind} holds where censoring is the same for all of a layer", model, "", step))
    if model != "kaplan_meier" and options.errors == "bootstrap":
        faults.append(
            Fault("errors", "draws are fitted anew with Kaplan-Meier only", "bootstrap", "influence", "")
        )  # fmt: skip
    if options.censoring.ties == "together" and kind in (*_BY_INTERVAL, "lin_2000"):
        faults.append(Fault("ties", f"{kind} takes events first", "together", "events_first"))
    if options.divide_by == "weights" and kind not in ("bang_tsiatis", "bang_tsiatis_partitioned"):
        faults.append(Fault("divide_by", f"{kind} has no such form", "weights", "people"))
    if options.errors == "published":
        if kind not in _PUBLISHED or options.divide_by != "people" or model != "kaplan_meier":
            faults.append(Fault("errors", f"there is no published formula for {kind} with these options", "published"))
        if np.ptp(history.weights) > 0 or len(np.unique(history.cluster)) < len(history):
            faults.append(Fault("errors", "the published formulas need equal weights and independent people"))
        if options.censoring.by not in ("group", "group_and_stratum"):
            faults.append(Fault("by", "the published formulas are of one group", options.censoring.by, "group"))
        if options.censoring.by == "group_and_stratum" and len(np.unique(history.stratum)) > 1:
            faults.append(Fault("by", "the published formulas are of one curve of censoring a group", allowed="group"))
    return faults


def build_design(history: CostHistory, options: CensoredCostOptions) -> CostDesign:
    """Lay a history out for an estimator.

    Raises ParameterError for options that do not fit, NotEstimable where nobody is followed to the horizon
    (unless `unfollowed` is "nothing", and but for the estimators that ignore censoring).
    """
    refuse(option_faults(options, history))
    horizon = float(options.horizon_days)
    ends = np.array(options.interval_ends, dtype=np.float64)
    if not len(ends):
        lost = (~history.complete) & (history.follow_up_days < horizon)
        ends = np.append(np.unique(history.follow_up_days[lost]), horizon)
    observed, places = build_observed(history, horizon=horizon, options=options.censoring, ends=ends)
    if options.unfollowed == "refuse" and options.estimator not in NAIVE:
        require_followed(observed)
    total = compute_costs_until(history, observed.time)
    parts, cells, x = np.zeros((len(total), 0)), (), np.zeros((len(total), 0))
    if options.estimator in _BY_INTERVAL:
        parts = np.diff(compute_running_costs(history, ends), axis=1, prepend=0.0)
    if options.estimator == "zhao_tian":
        cells = _build_cells(history, observed, total)
    if options.estimator == "lin_2000":
        arms = history.group[:, None] == np.arange(1, int(history.group.max()) + 1)
        x = np.column_stack([np.ones(len(total)), arms, history.covariates])
    return CostDesign(history, options, observed, total, ends, places, parts, cells, x)


def _build_cells(history: CostHistory, observed: Observed, total: np.ndarray) -> tuple[RiskCell, ...]:
    code = history.group * observed.n_layers + observed.layer
    found = []
    for value in np.unique(code):
        rows = np.flatnonzero(code == value)
        lost = rows[~observed.known[rows]]
        if not len(lost):
            continue
        days = np.unique(observed.place[lost] - 1)
        there = (observed.place[rows][:, None] > days).astype(np.float64)
        running = compute_running_costs(history.select(rows), observed.grid[days]) * there
        own = (~observed.known[rows])[:, None] & (observed.place[rows][:, None] - 1 == days)
        running = np.where(own, total[rows][:, None], running)
        found.append(RiskCell(rows, int(observed.layer[rows[0]]), days, running, there, own.astype(np.float64)))
    return tuple(found)


def compute_values(design: CostDesign, weights: np.ndarray) -> np.ndarray:
    """Means of the G groups (B, G), or coefficients of the regression (B, p), for weightings (B, n).

    A draw in which a group has nobody, or nobody followed to the horizon, is NaN.
    """
    paths = compute_paths(design.observed, weights)
    kind = design.options.estimator
    if kind == "lin_2000":
        return compute_regression(design, paths, weights)
    arms = (design.history.group[:, None] == np.arange(design.n_groups)).astype(np.float64)
    total = weights @ arms
    known = design.observed.known
    if kind == "available_sample":
        return _ratio((weights * design.total) @ arms, total)
    if kind == "complete_case":
        return _ratio((weights * design.total * known) @ arms, (weights * known) @ arms)
    if kind == "lin_1997":
        return _lin(design, weights, arms)
    own = weights * known * invert(read_followed(design.observed, paths, design.observed.place))
    if kind == "bang_tsiatis_partitioned":
        found = _partitioned(design, paths, weights, own, arms)
    else:
        by_weights = design.options.divide_by == "weights"
        found = _ratio((own * design.total) @ arms, own @ arms if by_weights else total)
    if kind == "zhao_tian":
        for cell in design.cells:
            arm = int(design.history.group[cell.rows[0]])
            gained = compute_gain(cell, paths, weights)[0].sum(axis=1)
            found[:, arm] += _ratio(gained, total[:, arm])
    return np.where(_has_ended(design, paths, arms), np.nan, found)


def _has_ended(design: CostDesign, paths: Paths, arms: np.ndarray) -> np.ndarray:
    """Draws and groups (B, G) of which nobody is followed to the horizon, where that is refused."""
    ended = paths.followed[:, :, -1] <= 0
    if design.options.unfollowed == "nothing" or design.observed.table is not None:
        ended = np.zeros_like(ended)
    layers = np.zeros((design.observed.n_layers, arms.shape[1]))
    np.add.at(layers, design.observed.layer, arms)
    return ended @ (layers > 0)


def compute_gain(cell: RiskCell, paths: Paths, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What Zhao and Tian add on each day of censoring, means of those at risk, and their weight; (B, C) each."""
    w = weights[:, cell.rows]
    at_risk = w @ cell.there
    means = _ratio(w @ cell.running, at_risk, empty=0.0)
    # On the last day, if all at risk are censored, what they cost less their mean is nought, and so is K.
    followed = invert(paths.followed[:, cell.layer, cell.days + 1])
    return (w @ (cell.lost * cell.running) - (w @ cell.lost) * means) * followed, means, at_risk


def _partitioned(
    design: CostDesign, paths: Paths, weights: np.ndarray, own: np.ndarray, arms: np.ndarray
) -> np.ndarray:
    through = design.through
    by_weights = design.options.divide_by == "weights"
    found = np.zeros((len(weights), arms.shape[1]))
    for arm in range(arms.shape[1]):
        rows = np.flatnonzero(arms[:, arm])
        top, seen = _sum_intervals(design, paths, weights, own, rows, through)
        if by_weights:
            found[:, arm] = _ratio(top, seen).sum(axis=1)
        else:
            found[:, arm] = _ratio(top.sum(axis=1), weights[:, rows].sum(axis=1))
    return found


def _sum_intervals(
    design: CostDesign, paths: Paths, weights: np.ndarray, own: np.ndarray, rows: np.ndarray, through: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted cost and weight of those whose cost was seen, by interval, both (B, m), over some rows."""
    table = design.observed.table
    top = own[:, rows] @ (design.parts[rows] * ~through[rows])
    seen = own[:, rows] @ (~through[rows]).astype(np.float64)
    if table is not None:
        each = through[rows] / table[rows][:, design.places]
        return top + weights[:, rows] @ (each * design.parts[rows]), seen + weights[:, rows] @ each
    for layer in np.unique(design.observed.layer[rows]):
        here = rows[design.observed.layer[rows] == layer]
        followed = invert(paths.followed[:, layer, design.places])
        top = top + followed * (weights[:, here] @ (through[here] * design.parts[here]))
        seen = seen + followed * (weights[:, here] @ through[here].astype(np.float64))
    return top, seen


def _lin(design: CostDesign, weights: np.ndarray, arms: np.ndarray) -> np.ndarray:
    found = np.zeros((len(weights), arms.shape[1]))
    for arm in range(arms.shape[1]):
        rows = np.flatnonzero(arms[:, arm])
        alive, means, _ = compute_lin_parts(design, weights, rows)
        found[:, arm] = (alive * means).sum(axis=1)
    return found


def compute_lin_parts(
    design: CostDesign, weights: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Survival at the start of each interval, mean cost in it of those then followed, and their weight; (B, m) each."""
    starts = np.concatenate([[0.0], design.ends[:-1]])
    days, place, is_death = find_deaths(design, rows)
    w = weights[:, rows]
    at_risk = w @ (place[:, None] > np.arange(len(days))).astype(np.float64)
    deaths = w @ (is_death[:, None] & (place[:, None] - 1 == np.arange(len(days)))).astype(np.float64)
    left = np.where(at_risk - deaths > 1e-12 * at_risk, at_risk - deaths, 0.0)
    steps = np.divide(left, at_risk, out=np.ones_like(left), where=at_risk > 0)
    survival = np.concatenate([np.ones((len(w), 1)), np.cumprod(steps, axis=1)], axis=1)
    alive = survival[:, np.searchsorted(days, starts, side="right")]
    there = (design.observed.time[rows][:, None] > starts).astype(np.float64)
    size = w @ there
    means = _ratio(w @ (there * design.parts[rows]), size)
    means = np.where(np.isnan(means) & (alive <= 0), 0.0, means)
    if design.options.unfollowed == "nothing":
        means = np.nan_to_num(means)
    return alive, means, size


def find_deaths(design: CostDesign, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct days of death before the horizon (d,), how many of them each row was at risk on, and whose they are."""
    time = design.observed.time[rows]
    is_death = design.observed.known[rows] & (time < design.options.horizon_days)
    days = np.unique(time[is_death])
    return days, np.searchsorted(days, time, side="right"), is_death


def compute_regression(design: CostDesign, paths: Paths, weights: np.ndarray) -> np.ndarray:
    """Coefficients (B, p) of least squares weighted by w D / K(X); NaN where a draw has too few to fit.

    Raises NotEstimable where a covariate is a combination of others among those whose cost was seen.
    """
    observed = design.observed
    own = weights * observed.known * invert(read_followed(observed, paths, observed.place))
    p = design.x.shape[1]
    scale = np.maximum(np.abs(design.x).max(axis=0), 1e-300)
    x = design.x / scale
    if np.linalg.matrix_rank(x[observed.known]) < p:
        raise NotEstimable(Fault("covariates", "one is constant, or a combination of others, among complete people"))
    i, j = np.triu_indices(p)
    cross = np.empty((len(weights), p, p))
    cross[:, i, j] = own @ (x[:, i] * x[:, j])
    cross[:, j, i] = cross[:, i, j]
    sound = np.linalg.cond(cross) < 1e12
    cross[~sound] = np.eye(p)
    beta = np.linalg.solve(cross, ((own * design.total) @ x)[:, :, None])[:, :, 0] / scale
    return np.where(sound[:, None], beta, np.nan)


def invert(followed: np.ndarray) -> np.ndarray:
    """1 / K, and 0 where K is 0: nobody is weighed by that."""
    return np.divide(1.0, followed, out=np.zeros_like(followed), where=followed > 0)


def _ratio(top: np.ndarray, bottom: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, empty), where=bottom > 0)
