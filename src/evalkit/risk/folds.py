"""Folds of people, stratified by outcome, and the refusal of those that hold too few events."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse, rng_faults, whole_faults
from evalkit.risk.arrays import FEWEST_EVENTS


def draw_folds(
    person: np.ndarray, outcome: np.ndarray, *, folds: int, repeats: int, rng: np.random.Generator
) -> np.ndarray:
    """The fold, from 0, that each discharge is held out in, (repeats, n).

    All discharges of a person (n,) are in one fold. People with any outcome (n,) of 1, and those without, are dealt
    out evenly, in a new random order each repeat. Fails with `ParameterError` for malformed arguments and with
    `NotEstimable`, naming the folds, where one holds fewer than 10 discharges with the outcome, or without it.
    """
    person, outcome = np.asarray(person), np.asarray(outcome)
    where = "draw_folds"
    faults = [*whole_faults(f"{where} folds", folds, least=2), *whole_faults(f"{where} repeats", repeats, least=1)]
    faults += rng_faults(rng)
    if person.ndim != 1 or not len(person) or outcome.shape != person.shape or pd.isna(person).any():
        faults.append(Fault(f"{where} person, outcome", "are empty, missing for some, or not of one shape (n,)"))
    elif not np.isin(outcome, (0, 1)).all():
        faults.append(Fault(f"{where} outcome", "is missing or holds other values", allowed="0 and 1"))
    refuse(faults)
    codes, names = pd.factorize(person)
    with_event = np.bincount(codes, outcome) > 0
    strata = [np.flatnonzero(with_event), np.flatnonzero(~with_event)]
    found = np.empty((repeats, len(codes)), dtype=np.int64)
    for row in found:
        of_person = np.empty(len(names), dtype=np.int64)
        # One deal goes on where the other ended, so that folds differ by one person at most.
        of_person[np.concatenate([rng.permutation(people) for people in strata])] = np.arange(len(names)) % folds
        row[:] = of_person[codes]
    refuse_few_held_out(
        (f"fold {fold + 1} of {folds}, repeat {repeat + 1}", outcome[row == fold])
        for repeat, row in enumerate(found) for fold in range(folds)
    )  # fmt: skip
    return found


def refuse_few_held_out(parts: Iterable[tuple[str, np.ndarray]]) -> None:
    """Fail with `NotEstimable`, naming the parts whose outcomes hold fewer than 10 of a class."""
    faults = few_faults(parts)
    if faults:
        raise NotEstimable(faults)


def few_faults(parts: Iterable[tuple[str, np.ndarray]]) -> list[Fault]:
    """One fault a named part whose outcomes (m,) hold fewer than 10 of 1, or of 0."""
    return [
        Fault(
            name, "too few discharges with the outcome, or without it", f"fewer than {FEWEST_EVENTS}",
            f"{FEWEST_EVENTS} or more of each", "Take fewer folds, or join groups",
        )
        for name, outcome in parts if min(outcome.sum(), len(outcome) - outcome.sum()) < FEWEST_EVENTS
    ]  # fmt: skip


def count_training(held: np.ndarray) -> np.ndarray:
    """Weights (repeats x folds, n): 1 for the discharges developed on, fold by fold of `held` from `draw_folds`."""
    folds = int(held.max()) + 1
    return np.concatenate([row != np.arange(folds)[:, None] for row in held]).astype(np.uint8)
