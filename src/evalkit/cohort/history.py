"""Histories of people through states: start, stop, from, to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evalkit.cohort.frames import codes, design_columns, how_many, numbers, require_columns
from evalkit.core.errors import Fault, suggest_name
from evalkit.core.faults import refuse

_WHERE = "event history"
STAYED = -1  # to_state of a row that ends by censoring


@dataclass(frozen=True)
class EventHistory:
    """Intervals `(start, stop]` spent in one state, each ended by a move or by censoring; checked by `from_frame`.

    Attributes
    ----------
    start, stop : float arrays, shape (n,), `start < stop`
    from_state, to_state : int arrays, shape (n,), places in `states`; `to_state` is -1 where follow-up ended
    person, cluster, stratum : int arrays, shape (n,), codes from 0; sorted by person and start
        `stratum` is what histories are compared by, such as a group; it holds for a whole person.
    weights : float array, shape (n,), positive
    covariates : float array, shape (n, p), with `names`
    states : the K states in order; `absorbing` those that nobody leaves
    """

    start: np.ndarray
    stop: np.ndarray
    from_state: np.ndarray
    to_state: np.ndarray
    person: np.ndarray
    cluster: np.ndarray
    stratum: np.ndarray
    weights: np.ndarray
    covariates: np.ndarray
    states: tuple[str, ...]
    absorbing: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    strata: tuple[object, ...] = ()

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        person: str,
        start: str,
        stop: str,
        from_state: str,
        to_state: str,
        states: Sequence[str],
        absorbing: Sequence[str] = (),
        allowed: Mapping[str, Sequence[str]] | None = None,
        cluster: str | None = None,
        stratum: str | None = None,
        weights: str | None = None,
        covariates: tuple[str, ...] = (),
    ) -> EventHistory:
        """Build from one row an interval; every fault is listed at once, no row is shown.

        `to_state` is empty where follow-up ended without a move. `allowed` names the moves that can happen,
        state to states; without it every move between states that are not absorbing can.

        Raises ParameterError for missing columns or values, states that are not listed, moves to the same state or
        out of an absorbing one or not in `allowed`, intervals of no length, rows of a person that overlap, a row
        that begins in another state than the row before it led to, rows after an absorbing state, people in several
        strata, and weights that are not positive and finite.
        """
        refuse(_state_list_faults(states, absorbing))
        require_columns(
            df, [person, start, stop, from_state, to_state, cluster, stratum, weights, *covariates], where=_WHERE
        )
        df = df.reset_index(drop=True)
        df = df.iloc[np.lexsort((numbers(df, start)[0], codes(df, person)[0]))].reset_index(drop=True)
        begins, faults = numbers(df, start)
        ends, wrong_ends = numbers(df, stop)
        origin, wrong_from = _state_codes(df[from_state], states, may_be_empty=False)
        target, wrong_to = _state_codes(df[to_state], states, may_be_empty=True)
        who, _, wrong_people = codes(df, person)
        group, _, wrong_clusters = codes(df, cluster) if cluster else (who, (), [])
        layer, labels, wrong_strata = codes(df, stratum) if stratum else (np.zeros(len(df), dtype=np.int64), (), [])
        w, wrong_weights = numbers(df, weights) if weights else (np.ones(len(df)), [])
        x, names, wrong_covariates = design_columns(df, covariates)
        used = [name for name in covariates if name in (stop, to_state, person)]
        wrong_covariates += [Fault(name, "this column cannot be a covariate too") for name in used]
        refuse([*faults, *wrong_ends, *wrong_from, *wrong_to, *wrong_people,
                *wrong_clusters, *wrong_strata, *wrong_weights, *wrong_covariates])  # fmt: skip
        refuse([
            *_time_faults(begins, ends, who, start, stop),
            *_move_faults(origin, target, tuple(states), tuple(absorbing), allowed),
            *_joint_faults(begins, ends, who, origin, target),
            *_after_faults(who, target, tuple(states), tuple(absorbing)),
            *_stratum_faults(who, layer, stratum),
            *_weight_faults(w, weights),
        ])  # fmt: skip
        return cls(
            begins, ends, origin, target, who, group, layer, w, x, tuple(states), tuple(absorbing), names, labels
        )

    def __len__(self) -> int:
        return len(self.stop)

    @property
    def n_people(self) -> int:
        return len(np.unique(self.person))

    def select(self, rows: np.ndarray) -> EventHistory:
        """The same histories with only these rows (bool or places), codes as they were."""
        arrays = (
            "start", "stop", "from_state", "to_state", "person", "cluster", "stratum", "weights", "covariates",
        )  # fmt: skip
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})


def _state_codes(column: pd.Series, states: Sequence[str], *, may_be_empty: bool) -> tuple[np.ndarray, list[Fault]]:
    lookup = {state: place for place, state in enumerate(states)}
    text = column.astype(object)
    empty = text.isna() | (text == "")
    found = text.where(~empty, None).map(lambda v: lookup.get(v, -2) if v is not None else STAYED)
    found = found.to_numpy(dtype=np.int64)
    unknown = (found == -2) | ((found == STAYED) & (not may_be_empty))
    if not unknown.any():
        return found, []
    held = sorted({str(v) for v in text[(found == -2)]})
    # What is near to no state may be something else, such as a person's number: it is not shown.
    strange = [name for name in held[:1000] if suggest_name(name, list(states))]
    hint = (
        suggest_name(strange[0], list(states))
        if strange
        else f'`df["{column.name}"].value_counts(dropna=False)` shows them.'
    )
    what = f"{how_many(int(unknown.sum()))} hold a state that is not listed"
    return found, [
        Fault(
            str(column.name),
            what,
            got=", ".join(strange[:5]) or ("" if len(held) else "empty"),
            allowed=", ".join(states),
            next_step=hint,
        )
    ]


def _state_list_faults(states: Sequence[str], absorbing: Sequence[str]) -> list[Fault]:
    words = [*states, *absorbing]
    if isinstance(states, str) or isinstance(absorbing, str) or not all(isinstance(s, str) and s for s in words):
        step = 'Name them as text: states=("home", "dead"), absorbing=("dead",).'
        return [Fault("states, absorbing", "they are lists of names", next_step=step)]
    faults = []
    if len(set(states)) != len(states) or len(states) < 2:
        faults.append(Fault("states", "two or more states are needed, each once", got=", ".join(states)))
    strangers = [s for s in absorbing if s not in states]
    if strangers:
        faults.append(Fault("absorbing", "not among the states", got=", ".join(strangers), allowed=", ".join(states)))
    return faults


def _time_faults(start: np.ndarray, stop: np.ndarray, person: np.ndarray, begin: str, end: str) -> list[Fault]:
    faults = []
    empty = stop <= start
    if empty.any():
        faults.append(Fault(
            _WHERE, f"{how_many(int(empty.sum()))} have no length or end before they begin", allowed=f"{begin} < {end}",
            next_step=f'`df[df["{end}"] <= df["{begin}"]]` finds them; join a state of no length to its neighbour.',
        ))  # fmt: skip
    overlaps = (person[1:] == person[:-1]) & (start[1:] < stop[:-1])
    if overlaps.any():
        faults.append(Fault(
            _WHERE, f"{how_many(int(overlaps.sum()))} begin before the same person's row before them ends",
            allowed="one state at a time",
            next_step=f'Sorted by person and start, `df["{begin}"] < df.groupby(person)["{end}"].shift()` finds them.',
        ))  # fmt: skip
    return faults


def _move_faults(
    origin: np.ndarray, target: np.ndarray, states: tuple[str, ...], absorbing: tuple[str, ...],
    allowed: Mapping[str, Sequence[str]] | None,
) -> list[Fault]:  # fmt: skip
    size = len(states)
    possible = ~np.eye(size, dtype=bool)
    if allowed is not None:
        strangers = sorted({name for pair in allowed.items() for name in (pair[0], *pair[1])} - set(states))
        if strangers:
            return [Fault("allowed", "not among the states", got=", ".join(strangers), allowed=", ".join(states))]
        possible = np.zeros((size, size), dtype=bool)
        for one, others in allowed.items():
            possible[states.index(one), [states.index(other) for other in others]] = True
    stuck = [states.index(s) for s in absorbing]
    faults = []
    inside = np.isin(origin, stuck)
    if inside.any():
        faults.append(Fault(
            _WHERE, f"{how_many(int(inside.sum()))} begin in an absorbing state ({', '.join(absorbing)})",
            next_step="Nobody is followed after it: end the history with the move into it.",
        ))  # fmt: skip
    moved = target >= 0
    wrong = moved & ~possible[origin, np.maximum(target, 0)]
    if wrong.any():
        pairs = sorted({f"{states[a]} to {states[b]}" for a, b in zip(origin[wrong], target[wrong], strict=True)})
        faults.append(Fault(
            _WHERE, f"{how_many(int(wrong.sum()))} hold a move that cannot happen", got="; ".join(pairs[:5]),
            next_step="Join rows of one state that follow each other, or add the move to `allowed`.",
        ))  # fmt: skip
    return faults


def _joint_faults(
    start: np.ndarray, stop: np.ndarray, person: np.ndarray, origin: np.ndarray, target: np.ndarray
) -> list[Fault]:
    joined = (person[1:] == person[:-1]) & (start[1:] == stop[:-1])
    expected = np.where(target[:-1] >= 0, target[:-1], origin[:-1])
    broken = joined & (origin[1:] != expected)
    if not broken.any():
        return []
    return [Fault(
        _WHERE, f"{how_many(int(broken.sum()))} begin in another state than the row before them led to",
        next_step="The state at the start of a row is the one that the row before it moved to, or stayed in.",
    )]  # fmt: skip


def _after_faults(
    person: np.ndarray, target: np.ndarray, states: tuple[str, ...], absorbing: tuple[str, ...]
) -> list[Fault]:
    stuck = [states.index(s) for s in absorbing]
    again = (person[1:] == person[:-1]) & np.isin(target[:-1], stuck)
    if not again.any():
        return []
    return [Fault(
        _WHERE, f"{how_many(int(again.sum()))} come after the same person's move into an absorbing state",
        got=", ".join(absorbing), next_step="Check dates of deaths, and people who share an identifier.",
    )]  # fmt: skip


def _stratum_faults(person: np.ndarray, stratum: np.ndarray, name: str | None) -> list[Fault]:
    changes = (person[1:] == person[:-1]) & (stratum[1:] != stratum[:-1])
    if not changes.any():
        return []
    return [Fault(
        str(name), f"{how_many(int(changes.sum()))} are in another stratum than the same person's row before them",
        allowed="one stratum a person",
        next_step="Give each person and period a code of its own, and the person as the cluster.",
    )]  # fmt: skip


def _weight_faults(weights: np.ndarray, name: str | None) -> list[Fault]:
    bad = ~(np.isfinite(weights) & (weights > 0))
    return [Fault(name or "weights", f"{how_many(int(bad.sum()))} are not positive and finite")] if bad.any() else []
