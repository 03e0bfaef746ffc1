"""Where people are over the year from go-live, and where they would have been without the service."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.cohort.pathway import CELLS, UNSEEN, Pathways, build_pathways, derive_history
from evalkit.core.errors import NotEstimable
from evalkit.core.outcomes import NAIVE
from evalkit.core.pathway import PLACE_LABELS
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.estimators.cell_weights import CellWeights, build_cell_weights
from evalkit.estimators.inference import NAIVE_LABEL, normal_estimate
from evalkit.estimators.multistate import count_transitions
from evalkit.estimators.occupancy import OccupancyEffect, compute_occupancy_effect, estimate_occupancy_difference

ESTIMATOR = "occupancy_did"
MIN_PEOPLE = 10  # ever in a state, in each cell in which it could be
_LABEL = "Days in the state, weighted difference-in-differences of occupancy"
_DRAWN_EVERY_DAYS = 7


def estimate_pathway(study: Study) -> list[Results]:
    """Days in each state, occupancy with and without the service, where people went, and balance.

    Tables: `pathway.days` (estimates), `pathway.occupancy` and `pathway.flow` (joined until they can be shown),
    `pathway.means`, `balance.pathway`, and, for the workings alone, `occupancy` and `transitions` in full.
    Nothing where the protocol describes no pathway; estimates with their reason where it cannot be followed.
    """
    spec = study.protocol.pathway
    if spec is None:
        return []
    try:
        pathways = build_pathways(study.tables, study.protocol)
        covariates = derive_covariates(pathways)
        cell = pathways.people["cell"].to_numpy()
        weights = build_cell_weights(
            covariates, cell, pathways.people["person_id"].to_numpy(),
            replicates=study.protocol.inference.bootstrap_replicates, rng=study.rng("pathway"),
        )  # fmt: skip
        effect = compute_effect(study, pathways, weights)
    except NotEstimable as refusal:
        return [Results.from_estimates(
            [not_estimable(study.protocol.pathway_estimand(state), ESTIMATOR, role="sensitivity", reason=refusal.reason)
             for state in spec.state_keys], table="pathway.days",
        )]  # fmt: skip
    return [
        Results.from_estimates(_estimates(study, pathways, weights, effect), table="pathway.days"),
        Results.from_cells("pathway.means", _mean_cells(study, pathways, effect)),
        Results.from_cells("pathway.occupancy", _occupancy_cells(study, pathways, effect)),
        Results.from_cells("pathway.flow", _flow_cells(study, pathways)),
        Results.from_cells("balance.pathway", _balance_cells(weights, pathways)),
        Results.from_cells("occupancy", _full_occupancy(study, effect)),
        Results.from_cells("transitions", _transition_cells(pathways)),
    ]


def derive_covariates(pathways: Pathways) -> pd.DataFrame:
    """Characteristics, and the state on the anchor day where enough people of each cell begin in it.

    The commonest state has no column, and stands with those that few begin in for the rest.
    """
    cell, first = pathways.people["cell"].to_numpy(), pathways.first_state
    begun = {k: np.bincount(cell[first == k], minlength=len(CELLS)) for k in range(len(pathways.states))}
    commonest = max(begun, key=lambda k: begun[k].sum())
    columns = {
        f"starts_{pathways.states[k]}": (first == k).astype(float)
        for k, counts in begun.items()
        if counts.min() >= MIN_PEOPLE and k != commonest
    }
    return pathways.people[list(PERSON_FEATURES)].assign(**columns)


def compute_effect(study: Study, pathways: Pathways, weights: CellWeights) -> OccupancyEffect:
    """Occupancy of the four cells every week and on the days that tables show, with draws of people."""
    days = np.union1d(np.arange(0, pathways.days.shape[1] + 1, _DRAWN_EVERY_DAYS), shown_days(study))
    return compute_occupancy_effect(
        derive_history(pathways, weights=weights.base), horizon=pathways.days.shape[1], at=days, cell=(0, 1, 2, 3),
        replicates=len(weights.draws), rng=study.rng("occupancy"), reweight=weights.draws,
    )  # fmt: skip


def shown_days(study: Study) -> np.ndarray:
    """Days on which tables show where people are: 0 and every `show_every_days` inside the horizon."""
    spec = study.protocol.pathway
    return np.arange(0, spec.horizon_days, spec.show_every_days)


# ---- days in each state --------------------------------------------------------------------------


def _ever(pathways: Pathways) -> np.ndarray:
    """People ever in each state, by cell, shape (4, K)."""
    cell = pathways.people["cell"].to_numpy()
    return np.array([
        [int((pathways.days[cell == c] == k).any(axis=1).sum()) for k in range(len(pathways.states))]
        for c in range(len(CELLS))
    ])  # fmt: skip


def _fewest(study: Study, pathways: Pathways) -> np.ndarray:
    """People ever in each state in the cell that has fewest, of the cells in which the state could be; shape (K,)."""
    ever = _ever(pathways)
    parts = [bool(s.components) for s in study.protocol.pathway.states] + [False, False]
    return np.where(parts, ever[0], ever.min(axis=0))


def _estimates(study: Study, pathways: Pathways, weights: CellWeights, effect: OccupancyEffect) -> list[Estimate]:
    fewest, found = _fewest(study, pathways), []
    people = pathways.people
    naive = estimate_occupancy_difference(
        derive_history(pathways), first=0, second=1, at=[float(effect.horizon)], horizon=effect.horizon
    )
    error = effect.draws_days_difference.std(axis=0, ddof=1)
    shared = {"level": study.level, "n_people": float((people["cell"] == 0).sum())}
    for k, state in enumerate(effect.states):
        estimand, label = study.protocol.pathway_estimand(state), study.protocol.pathway.labels[state]
        if fewest[k] < MIN_PEOPLE:
            reason = f"Fewer than {MIN_PEOPLE} people were ever there in one of the four cells."
            found.append(not_estimable(estimand, ESTIMATOR, role="sensitivity", reason=reason, label=label))
            continue
        found.append(normal_estimate(
            estimand, ESTIMATOR, role="sensitivity", value=effect.days_difference[k], se=error[k], label=label,
            n_events=float(fewest[k]), checks=(*weights.checks, _inside(effect)), **shared,
        ))  # fmt: skip
        found.append(normal_estimate(
            estimand, NAIVE, role="naive", value=naive.days[k], se=naive.days_se[k], label=NAIVE_LABEL,
            n_events=float(fewest[k]), **shared,
        ))  # fmt: skip
    return found


def _inside(effect: OccupancyEffect) -> Check:
    return Check(
        "inside_bounds", effect.outside_most < 0.02, effect.outside_share,
        f"Without the service a state's share would be below 0 or above 1 on {effect.outside_share:.0%} of days and "
        f"states, by {effect.outside_most:.3f} at most; 0.02 or less is wanted.",
    )  # fmt: skip


def _mean_cells(study: Study, pathways: Pathways, effect: OccupancyEffect) -> list[Cell]:
    fewest, labels = _fewest(study, pathways), study.protocol.pathway.labels
    return [
        Cell(state, column, float(days[k]), "mean", unit="days per person", label=labels[state],
             n_people=float(effect.n_people[0]), n_events=float(fewest[k]))
        for k, state in enumerate(effect.states) if fewest[k] >= MIN_PEOPLE
        for column, days in (("with", effect.days_observed), ("without", effect.days_counterfactual))
    ]  # fmt: skip


# ---- where people are ----------------------------------------------------------------------------


def join_states(counts: np.ndarray, groups: tuple[str, ...], order: tuple[str, ...]) -> list[list[int]]:
    """States joined within their group until `MIN_PEOPLE` are in each on each day; a whole group may hold fewer.

    `counts` (days, K). Returns lists of places in the order of `order`.
    """
    blocks = []
    for group in order:
        states = [k for k, g in enumerate(groups) if g == group]
        few = [k for k in states if counts[:, k].min() < MIN_PEOPLE]
        many = [k for k in states if k not in few]
        while few and many and counts[:, few].sum(axis=1).min() < MIN_PEOPLE:
            few.append(many.pop(int(np.argmin([counts[:, k].min() for k in many]))))
        blocks += [[k] for k in many] + ([sorted(few)] if few else [])
    return blocks


def _occupancy_cells(study: Study, pathways: Pathways, effect: OccupancyEffect) -> list[Cell]:
    days, spec = shown_days(study), study.protocol.pathway
    mine = pathways.days[pathways.people["cell"].to_numpy() == 0]
    seen = mine[(mine != UNSEEN).all(axis=1)]
    counts = np.array([[int((seen[:, d] == k).sum()) for k in range(len(effect.states))] for d in days])
    cells, at = [], np.searchsorted(effect.times, days)
    for d, day in enumerate(days):
        cells.append(Cell(f"day {day}", "everybody", len(seen), "count", label=f"Everybody, day {day}"))
        for block in join_states(counts, spec.groups, tuple(PLACE_LABELS)):
            name, label = "+".join(effect.states[k] for k in block), _joined_label(study, block)
            total = int(counts[d, block].sum())
            cells += [
                Cell(f"day {day}", f"{name} people", total, "count", totals=(f"day {day}/everybody",), label=label),
                Cell(f"day {day}", f"{name} with", 100 * total / len(seen), "percent", unit="%", label=label,
                     numerator=f"day {day}/{name} people", denominator=f"day {day}/everybody"),
                Cell(f"day {day}", f"{name} without", 100 * float(effect.counterfactual[at[d], block].sum()),
                     "statistic", unit="%", n_people=float(len(seen)), n_events=float(total), label=label,
                     numerator=f"day {day}/{name} people"),
            ]  # fmt: skip
    return cells


def _joined_label(study: Study, block: list[int]) -> str:
    spec = study.protocol.pathway
    if len(block) == 1:
        return spec.labels[spec.state_keys[block[0]]]
    groups = {spec.groups[k] for k in block}
    whole = [k for k, g in enumerate(spec.groups) if g in groups]
    if len(groups) == 1 and whole == block:
        return PLACE_LABELS[spec.groups[block[0]]]
    labels = [spec.labels[spec.state_keys[k]] for k in block]
    return " or ".join([labels[0], *(label[:1].lower() + label[1:] for label in labels[1:])])


def _flow_cells(study: Study, pathways: Pathways) -> list[Cell]:
    """Kind of place on the first and on the last day, people and share of those who began there, by group."""
    groups, order = np.array(study.protocol.pathway.groups), list(PLACE_LABELS)
    place = np.array([order.index(g) for g in groups])
    cells = []
    for cell, who in ((0, study.protocol.areas.treated_label), (2, "Comparators")):
        mine = pathways.days[pathways.people["cell"].to_numpy() == cell]
        seen = mine[(mine != UNSEEN).all(axis=1)]
        begin, end = place[seen[:, 0]], place[seen[:, -1]]
        for b, start in enumerate(order):
            here = begin == b
            if here.sum() < MIN_PEOPLE:
                continue
            row = f"{who}|{start}"
            cells.append(Cell(row, "started", int(here.sum()), "count", label=f"{who}: {PLACE_LABELS[start]}"))
            for e, target in enumerate(order):
                count = int((here & (end == e)).sum())
                label = (
                    f"{who}: {PLACE_LABELS[start]}, then {PLACE_LABELS[target][:1].lower()}{PLACE_LABELS[target][1:]}"
                )
                cells.append(Cell(row, f"{target} people", count, "count", totals=(f"{row}/started",), label=label))
                share = 100 * count / int(here.sum())
                cells.append(Cell(row, f"{target} percent", share, "percent", unit="%", label=label,
                                  numerator=f"{row}/{target} people", denominator=f"{row}/started"))  # fmt: skip
    return cells


def _balance_cells(weights: CellWeights, pathways: Pathways) -> list[Cell]:
    people = pathways.people["person_id"].nunique()
    return [
        Cell(row.covariate, column, getattr(row, column), "statistic", unit="standard deviations",
             n_people=people, label=row.covariate.replace("_", " "))
        for row in weights.balance.itertuples() for column in ("unweighted", "weighted")
    ]  # fmt: skip


# ---- for the workings alone ----------------------------------------------------------------------


def _full_occupancy(study: Study, effect: OccupancyEffect) -> list[Cell]:
    labels, tail = study.protocol.pathway.labels, (1 - study.level) / 2
    cells = []
    for column, value, draws in (
        ("with", effect.observed, effect.draws_observed),
        ("without", effect.counterfactual, effect.draws_counterfactual),
        ("difference", effect.difference, effect.draws_difference),
    ):
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        cells += [
            Cell(f"{state}|{int(day)}", column, float(value[t, k]), "statistic", unit="risk (0 to 1)",
                 lower=float(low[t, k]), upper=float(high[t, k]), level=study.level, label=labels[state],
                 n_people=float(effect.n_people[0]))
            for t, day in enumerate(effect.times) for k, state in enumerate(effect.states)
        ]  # fmt: skip
    return cells


def _transition_cells(pathways: Pathways) -> list[Cell]:
    moves = count_transitions(derive_history(pathways))
    return [
        Cell(f"{CELLS[int(m.stratum)]}|{m.from_state}", m.to_state, float(m.count), "count", unit="moves",
             n_people=float(m.people) if m.people else math.nan)
        for m in moves.itertuples() if m.count
    ]  # fmt: skip
