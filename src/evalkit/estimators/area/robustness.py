"""The same estimate without one comparator, dated earlier, and without or on the neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.result import Estimate, not_estimable
from evalkit.estimators.area.contrasts import Design, one_start, shared_start
from evalkit.estimators.area.placebo_size import Estimator, give_treatment

Handling = Literal["treated", "left_out"]

WEIGHT_TOLERANCE = 1e-4


def drop_each(
    panel: Panel, estimator: Estimator, *, units: tuple[str | int, ...] | None = None
) -> tuple[Estimate, ...]:
    """The estimate with one untreated unit left out in turn, one a unit, named `<estimator>.without.<unit>`.

    `units` are those to leave out, by default every untreated one, matched by how they are written (3 as "3");
    `find_weighted_donors` gives those on which a synthetic control rests. One that cannot be estimated stands as
    `not_estimable` with the reason.

    Raises ParameterError for a unit that is not in the panel or is treated, NotEstimable where only one
    untreated unit is there, and what `estimator` raises with all units.
    """
    untreated = tuple(str(u) for u in panel.units[~panel.treated])
    asked = untreated if units is None else _read_units(units, untreated, "units")
    if len(untreated) < 2:
        raise NotEstimable(Fault("areas", "none would be left to compare with", got=f"{len(untreated)} untreated"))
    whole = estimator(panel)
    return tuple(
        _again(whole, estimator, _leave_out(panel, (unit,)), f"without.{unit}", f"without {unit}") for unit in asked
    )


def find_weighted_donors(panel: Panel, design: Design) -> tuple[str, ...]:
    """Names of the donors to which `design` gives a weight other than nought (1e-4), the largest first.

    Raises NotEstimable where the design gives no weights of units, or adoption differs between units.
    """
    first = one_start(panel.adoption, panel.periods)
    treated = panel.treated[None]
    weights = design(panel.values, treated=treated, donors=~treated, first=first).unit_weights
    if weights is None:
        raise NotEstimable(Fault("design", "it gives no weights of units", next_step="Leave out every unit in turn."))
    size = np.where(panel.treated, 0.0, np.abs(weights[0]))
    order = np.argsort(-size, kind="stable")
    return tuple(str(panel.units[j]) for j in order if size[j] > WEIGHT_TOLERANCE)


def estimate_anticipation(
    panel: Panel,
    estimator: Estimator,
    *,
    periods: tuple[int, ...],
    handling: Handling = "treated",
) -> tuple[Estimate, ...]:
    """The estimate as if the service had been felt some periods before adoption, one for each of `periods`.

    With "treated" adoption is dated back, so that the effect is the mean over the time of anticipation
    too; with "left_out" those periods belong to neither side, so that the effect is that after the real
    adoption against an earlier baseline (designs that need unbroken periods refuse it). Named
    `<estimator>.anticipation.<k>`. One that cannot be estimated stands with the reason.

    Raises ParameterError for numbers that are not whole, under 1 or that leave no period before, and for
    another handling.
    """
    first = shared_start(panel.adoption, panel.periods)
    _check_periods(periods, first, handling)
    whole = estimator(panel)
    out = []
    for k in periods:
        earlier = panel.periods[first - k]
        if handling == "treated":
            changed = give_treatment(panel, panel.treated, earlier)
        else:
            changed = panel.without(earlier, panel.periods[first])
        words = f"{k} periods before adoption {handling.replace('_', ' ')}"
        out.append(_again(whole, estimator, changed, f"anticipation.{k}", words))
    return tuple(out)


def estimate_spillover(
    panel: Panel, estimator: Estimator, *, neighbours: tuple[str | int, ...]
) -> tuple[Estimate, Estimate]:
    """The effect with neighbours left out of the comparison, and the effect on the neighbours.

    If the service moved use across the border, neighbours are no untreated comparators: the first
    estimate (`<estimator>.without_neighbours`) leaves them out. The second (`.on_neighbours`) puts them in
    the treated unit's place, from the same date, with the really treated left out: it should be no effect.
    Either stands as `not_estimable` with the reason where it cannot be had.

    Raises ParameterError for a neighbour that is not in the panel or is treated, and NotEstimable where
    no other untreated unit is left, or adoption differs between units.
    """
    shared_start(panel.adoption, panel.periods)
    untreated = tuple(str(u) for u in panel.units[~panel.treated])
    near = _read_units(neighbours, untreated, "neighbours")
    if not set(untreated) - set(near):
        raise NotEstimable(Fault("neighbours", "no other untreated area is left to compare with"))
    whole = estimator(panel)
    apart = _leave_out(panel, near)
    rest = panel.only(tuple(panel.units[~panel.treated]))
    moved = give_treatment(rest, np.isin(rest.units.astype(str), near), panel.adoption[panel.treated][0])
    return (
        _again(whole, estimator, apart, "without_neighbours", "neighbours left out of the comparison"),
        _again(whole, estimator, moved, "on_neighbours", "neighbours in the treated area's place"),
    )


def _again(whole: Estimate, estimator: Estimator, panel: Panel, name: str, words: str) -> Estimate:
    """`estimator` on a changed panel, named apart from `whole` and no longer primary.

    The whole panel went through with the same options, so that a fault of the panel is one of the change.
    """
    full, label = f"{whole.estimator}.{name}", f"{whole.label or whole.estimator.replace('_', ' ')}, {words}"
    role = "sensitivity" if whole.role == "primary" else whole.role
    try:
        found = estimator(panel)
    except NotEstimable as error:
        reason = error.reason
    except ParameterError as error:
        if any(fault.where != "panel" for fault in error.faults):
            raise
        reason = " ".join(fault.text for fault in error.faults)
    else:
        return replace(found, estimator=full, role=role, label=label)
    return not_estimable(whole.estimand, full, role=role, reason=reason, label=label)


def _leave_out(panel: Panel, units: tuple[str, ...]) -> Panel:
    return panel.only(tuple(u for u in panel.units if str(u) not in units))


def _read_units(asked: tuple[str | int, ...], untreated: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Names as text, so that units numbered in the panel are met by number; raises ParameterError for bad ones."""
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        raise ParameterError(Fault(where, "it is not a tuple of names", repr(asked), next_step=f"Write ({asked!r},)."))
    names = tuple(str(u) for u in asked)
    faults = [
        Fault(where, f'there is no untreated area "{u}"', next_step=suggest_name(u, untreated))
        for u in names
        if u not in untreated
    ]
    if not names:
        faults.append(Fault(where, "none was named"))
    if len(set(names)) < len(names):
        faults.append(Fault(where, "one was named twice"))
    if faults:
        raise ParameterError(faults)
    return names


def _check_periods(periods: tuple[int, ...], first: int, handling: str) -> None:
    faults = []
    given = periods if isinstance(periods, (tuple, list, range, np.ndarray)) else ()
    if len(given) == 0 or any(not isinstance(k, (int, np.integer)) or not 1 <= k < first for k in given):
        allowed = f"a tuple of whole numbers from 1 to {first - 1}"
        faults.append(Fault("periods", "they leave nothing to compare", str(periods), allowed))
    if handling not in get_args(Handling):
        faults.append(Fault("handling", "there is no such choice", str(handling), ", ".join(get_args(Handling))))
    if faults:
        raise ParameterError(faults)
