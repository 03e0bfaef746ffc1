"""Where people are over the year from go-live, and where they would have been without the service."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from evalkit.analysis.cell_balance import build_balance_cells
from evalkit.analysis.study import Study
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.cohort.pathway import CELLS, UNSEEN, Pathways, build_pathways, derive_history
from evalkit.core.errors import NotEstimable
from evalkit.core.outcomes import NAIVE
from evalkit.core.pathway import PLACE_LABELS
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.estimators.inference import NAIVE_LABEL, normal_estimate
from evalkit.estimators.people.cell_weights import CellWeights, build_cell_weights
from evalkit.estimators.survival.multistate import count_transitions
from evalkit.estimators.survival.occupancy import (
    OccupancyEffect,
    compute_occupancy_effect,
    estimate_occupancy_difference,
)

ESTIMATOR = "occupancy_did"
MIN_PEOPLE = 10  # ever in a state, in each cell in which it could be
WHY_FEW = f"Fewer than {MIN_PEOPLE} people were ever there, or came or went, in one of the four cells."
WHY_ALONE = "Held back, so that the days of a state with few people cannot be worked out from the others."
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
        return estimate_from_pathways(study, build_pathways(study.tables, study.protocol))
    except NotEstimable as refusal:
        return [Results.from_estimates(
            [not_estimable(study.protocol.pathway_estimand(state), ESTIMATOR, role="sensitivity", reason=refusal.reason)
             for state in spec.state_keys], table="pathway.days",
        )]  # fmt: skip


def estimate_from_pathways(study: Study, pathways: Pathways) -> list[Results]:
    """The tables of `estimate_pathway`; raises NotEstimable where the four cells cannot be compared."""
    covariates = derive_covariates(pathways)
    cell = pathways.people["cell"].to_numpy()
    weights = build_cell_weights(
        covariates, cell, pathways.people["person_id"].to_numpy(),
        replicates=study.protocol.inference.bootstrap_replicates, rng=study.rng("pathway"),
    )  # fmt: skip
    effect = compute_effect(study, pathways, weights)
    occupancy = Results.from_cells("pathway.occupancy", _occupancy_cells(study, pathways, effect))
    flow = Results.from_cells("pathway.flow", _flow_cells(study, pathways))
    return [
        Results.from_estimates(_estimates(study, pathways, weights, effect), table="pathway.days"),
        Results.from_cells("pathway.means", _mean_cells(study, pathways, effect)),
        *_tied(study, occupancy, flow),
        Results.from_cells("balance.pathway", build_balance_cells(weights.balance, covariates, weights.cell)),
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
    return np.where(_parts(study), ever[0], ever.min(axis=0))


def _parts(study: Study) -> np.ndarray:
    """Which states are parts of the programme, so that nobody could be in them without it; shape (K,)."""
    return np.array([bool(s.components) for s in study.protocol.pathway.states] + [False, False])


def _came_or_went(pathways: Pathways) -> np.ndarray:
    """People of the treated cells in each state on some but not all of their days; shape (2, K).

    Where there are few, days in the state over the horizon are all but a number of people.
    """
    cell, followed = pathways.people["cell"].to_numpy(), pathways.days != UNSEEN
    found = []
    for k in range(len(pathways.states)):
        there = pathways.days == k
        partly = there.any(axis=1) & (there != followed).any(axis=1)
        found.append(np.bincount(cell[partly], minlength=len(CELLS))[:2])
    return np.array(found).T


def _with_another(held: np.ndarray, fewest: np.ndarray) -> np.ndarray:
    """What is held back, with the state of fewest people beside one that would stand alone.

    Days in all states add up to the horizon (and differences to nought), so that one alone could be worked out.
    """
    if held.sum() == 1 and not held.all():
        held = held | (np.arange(len(held)) == np.argmin(np.where(held, np.inf, fewest)))
    return held


def _estimates(study: Study, pathways: Pathways, weights: CellWeights, effect: OccupancyEffect) -> list[Estimate]:
    fewest, found = _fewest(study, pathways), []
    people, moved, parts = pathways.people, _came_or_went(pathways), _parts(study)
    # Without the service a part of it holds nobody: the difference is then the plain mean, and is held back like it.
    few = (fewest < MIN_PEOPLE) | (parts & (moved[0] < MIN_PEOPLE))
    alone = _with_another(few, fewest) if (few & parts).any() else few
    naive = estimate_occupancy_difference(
        derive_history(pathways), first=0, second=1, at=[float(effect.horizon)], horizon=effect.horizon
    )
    error = effect.draws_days_difference.std(axis=0, ddof=1)
    shared = {"level": study.level, "n_people": float((people["cell"] == 0).sum())}
    for k, state in enumerate(effect.states):
        estimand, label = study.protocol.pathway_estimand(state), study.protocol.pathway.labels[state]
        if alone[k]:
            reason = WHY_FEW if few[k] else WHY_ALONE
            found.append(not_estimable(estimand, ESTIMATOR, role="sensitivity", reason=reason, label=label))
            continue
        found.append(normal_estimate(
            estimand, ESTIMATOR, role="sensitivity", value=effect.days_difference[k], se=error[k], label=label,
            n_events=float(fewest[k]), checks=(*weights.checks, _inside(effect)), **shared,
        ))  # fmt: skip
        if moved[:, k].max() < MIN_PEOPLE:
            found.append(not_estimable(estimand, NAIVE, role="naive", reason=WHY_FEW, label=NAIVE_LABEL))
            continue
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
    held = _with_another((fewest < MIN_PEOPLE) | (_came_or_went(pathways)[0] < MIN_PEOPLE), fewest)
    return [
        Cell(state, column, float(days[k]), "mean", unit="days per person", label=labels[state],
             n_people=float(effect.n_people[0]), n_events=float(fewest[k]))
        for k, state in enumerate(effect.states) if not held[k]
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
    everybody = "day 0/everybody"  # the same people on every day: one count, of which all places are parts
    cells.append(Cell("day 0", "everybody", len(seen), "count", label="Everybody"))
    for d, day in enumerate(days):
        blocks = join_states(counts, spec.groups, tuple(PLACE_LABELS))
        for group in [g for g in PLACE_LABELS if sum(spec.groups[b[0]] == g for b in blocks) > 1]:
            total = int(counts[d, [k for k, g in enumerate(spec.groups) if g == group]].sum())
            cells.append(Cell(f"day {day}", f"{group} in all", total, "count", label=PLACE_LABELS[group]))
        for block in blocks:
            name, label = "+".join(effect.states[k] for k in block), _joined_label(study, block)
            total = int(counts[d, block].sum())
            several = sum(spec.groups[b[0]] == spec.groups[block[0]] for b in blocks) > 1
            totals = (everybody, *([f"day {day}/{spec.groups[block[0]]} in all"] if several else []))
            cells += [
                Cell(f"day {day}", f"{name} people", total, "count", totals=totals, label=label),
                Cell(f"day {day}", f"{name} with", 100 * total / len(seen), "percent", unit="%", label=label,
                     numerator=f"day {day}/{name} people", denominator=everybody),
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
            row = f"{who}|{start}"
            cells.append(Cell(row, "started", int(here.sum()), "count", label=f"{who}: {PLACE_LABELS[start]}"))
            if here.sum() < MIN_PEOPLE:
                continue
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


def _tied(study: Study, occupancy: Results, flow: Results) -> list[Results]:
    """Both tables, with which of their counts add up to which, so that the gate can guard them together.

    The places of the first day are what moves start from, and those of the last day what they end in.
    """
    spec, who = study.protocol.pathway, study.protocol.areas.treated_label
    last = int(shown_days(study)[-1])
    places, moves = occupancy.frame, flow.frame
    group_of = dict(zip(spec.state_keys, spec.groups, strict=True))
    blocks = places["column"].str.endswith(" people")
    group = places["column"].str.removesuffix(" people").str.split("+").str[0].map(group_of)
    first = blocks & (places["row"] == "day 0")
    places.loc[first, "totals"] += f";pathway.flow/{who}|" + group[first] + "/started"
    begun = moves["column"].eq("started") & moves["row"].str.startswith(f"{who}|")
    moves.loc[begun, "totals"] = "pathway.occupancy/day 0/everybody"
    if last == spec.horizon_days - 1:
        whole = places[places["row"].eq(f"day {last}") & places["column"].str.endswith(" in all")]
        ends = dict(zip(whole["column"].str.removesuffix(" in all"), whole["id"], strict=True))
        single = blocks & (places["row"] == f"day {last}") & ~group.isin(list(ends))
        ends |= dict(zip(group[single], places.loc[single, "id"], strict=True))
        into = moves["column"].str.endswith(" people") & moves["row"].str.startswith(f"{who}|")
        moves.loc[into, "totals"] += ";" + moves.loc[into, "column"].str.removesuffix(" people").map(ends)
    return [Results(places), Results(moves)]


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
