"""Follow-up in counting-process form: who was at risk from when to when, and what ended it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evalkit.cohort.frames import as_numbers, codes, design_columns, how_many, numbers, require_columns
from evalkit.core.errors import Fault
from evalkit.core.faults import refuse

_WHERE = "follow-up"


@dataclass(frozen=True)
class FollowUp:
    """Intervals at risk `(entry, exit]`, each ended by an event or by censoring; checked by `from_frame`.

    A row is at risk at time t where `entry < t <= exit`: an event at t belongs to the row that ends there, and
    on one day events come before censoring.

    Attributes
    ----------
    entry, exit : float arrays, shape (n,), `entry < exit`
    event : int array, shape (n,)
        0 censored, k for `causes[k - 1]`.
    person, cluster, stratum : int arrays, shape (n,), codes from 0
        Rows of one person in one stratum do not overlap. Errors are clustered by `cluster`.
    weights, offset : float arrays, shape (n,); weights are positive
    covariates : float array, shape (n, p), with `names`
    """

    entry: np.ndarray
    exit: np.ndarray
    event: np.ndarray
    person: np.ndarray
    cluster: np.ndarray
    stratum: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    covariates: np.ndarray
    names: tuple[str, ...] = ()
    causes: tuple[str, ...] = ("event",)
    strata: tuple[object, ...] = ()

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        exit: str,
        event: str,
        entry: str | None = None,
        person: str | None = None,
        cluster: str | None = None,
        stratum: str | None = None,
        weights: str | None = None,
        offset: str | None = None,
        covariates: tuple[str, ...] = (),
        causes: tuple[str, ...] = ("event",),
    ) -> FollowUp:
        """Build from one row an interval; every fault is listed at once, no row is shown.

        `event` holds 0, False or empty for censored, else True, a code 1 to K or one of `causes`. Without
        `entry` everybody enters at 0 or, where a time is 0 or less, is refused; without `person` each row is a
        person; without `cluster` people are the clusters.

        Raises ParameterError for missing columns, values that are missing or infinite, intervals of no length
        or that end before they begin, rows of one person in one stratum that overlap, codes outside `causes`,
        weights that are not positive and finite, dates where numbers are wanted, covariates that are the outcome, and
        causes that are not different names.
        """
        refuse(_cause_list_faults(causes))
        require_columns(df, [exit, event, entry, person, cluster, stratum, weights, offset, *covariates], where=_WHERE)
        df = df.reset_index(drop=True)
        ends, faults = numbers(df, exit)
        begins, wrong = numbers(df, entry) if entry else (np.zeros(len(df)), [])
        events, wrong_events = _event_codes(df[event], causes)
        who, _, wrong_people = codes(df, person)
        group, _, wrong_clusters = codes(df, cluster) if cluster else (who, (), [])
        layer, labels, wrong_strata = codes(df, stratum) if stratum else (np.zeros(len(df), dtype=np.int64), (), [])
        w, wrong_weights = numbers(df, weights) if weights else (np.ones(len(df)), [])
        shift, wrong_offset = numbers(df, offset) if offset else (np.zeros(len(df)), [])
        x, names, wrong_covariates = design_columns(df, covariates)
        faults = [*faults, *wrong, *wrong_events, *wrong_people, *wrong_clusters, *wrong_strata]
        faults += [*wrong_weights, *wrong_offset, *wrong_covariates]
        faults += [
            Fault(name, "this column cannot be a covariate too") for name in covariates if name in (exit, event, person)
        ]
        refuse(faults)
        overlaps = _overlap_faults(begins, ends, who, layer, entry, exit) if person else []  # else a row each
        refuse([*_length_faults(begins, ends, entry, exit), *overlaps, *_weight_faults(w, weights)])
        return cls(begins, ends, events, who, group, layer, w, shift, x, names, tuple(causes), labels)

    def __len__(self) -> int:
        return len(self.exit)

    @property
    def n_people(self) -> int:
        return len(np.unique(self.person))

    def n_events(self, cause: int = 1) -> int:
        """Rows that end in `causes[cause - 1]`."""
        return int((self.event == cause).sum())

    def select(self, rows: np.ndarray) -> FollowUp:
        """The same follow-up with only these rows (bool or places), codes as they were."""
        arrays = ("entry", "exit", "event", "person", "cluster", "stratum", "weights", "offset", "covariates")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def with_weights(self, weights: np.ndarray) -> FollowUp:
        """The same follow-up with other weights, shape (n,), positive and finite."""
        values = as_numbers(weights, "weights") if np.ndim(weights) else np.float64(0.0)
        refuse(_weight_faults(values, "weights") if values.shape == self.exit.shape else [
            Fault(_WHERE, "weights must have one value a row", got=f"{values.shape}", allowed=f"({len(self)},)")
        ])  # fmt: skip
        return replace(self, weights=values)


def _event_codes(column: pd.Series, causes: tuple[str, ...]) -> tuple[np.ndarray, list[Fault]]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("boolean", "integer", "floating", "mixed-integer-float", "empty"):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        found = np.where(np.isnan(values), 0.0, values)
    elif column.dtype == object or pd.api.types.is_string_dtype(column):
        lookup = {"": 0, "censored": 0} | {cause: k for k, cause in enumerate(causes, 1)}
        names = column.astype(object).where(column.notna(), "").map(lambda v: lookup.get(str(v), -1))
        found = names.to_numpy(dtype=np.float64)
    else:  # dates and what else is no code
        found = np.full(len(column), -1.0)
    bad = (found != np.round(found)) | (found < 0) | (found > len(causes))
    if bad.any():
        allowed = f"0 for censored, 1 to {len(causes)} or {', '.join(causes)}"
        return np.zeros(len(found), dtype=np.int64), [
            Fault(str(column.name), f"{how_many(int(bad.sum()))} hold another code", allowed=allowed)
        ]
    return found.astype(np.int64), []


def _cause_list_faults(causes: tuple[str, ...]) -> list[Fault]:
    named = not isinstance(causes, str) and all(isinstance(c, str) and c not in ("", "censored") for c in causes)
    if named and len(causes) and len(set(causes)) == len(causes):
        return []
    step = 'For one cause: causes=("death",), with a comma.'
    return [Fault("causes", "a list of different names, none of them for censoring", str(causes), next_step=step)]


def _length_faults(entry: np.ndarray, exit_: np.ndarray, begin: str | None, end: str) -> list[Fault]:
    empty = exit_ <= entry
    if not empty.any():
        return []
    start = f'df["{begin}"]' if begin else "0"
    return [Fault(
        _WHERE, f"{how_many(int(empty.sum()))} have no length or end (or have their event) before they begin",
        allowed=f"{begin or '0'} < {end}",
        next_step=f'`df[df["{end}"] <= {start}]` finds them; count such a day as half a day or leave it out.',
    )]  # fmt: skip


def _overlap_faults(
    entry: np.ndarray, exit_: np.ndarray, person: np.ndarray, stratum: np.ndarray, begin: str | None, end: str
) -> list[Fault]:
    order = np.lexsort((exit_, entry, stratum, person))
    p, s, a, b = person[order], stratum[order], entry[order], exit_[order]
    overlaps = (p[1:] == p[:-1]) & (s[1:] == s[:-1]) & (a[1:] < b[:-1])
    if not overlaps.any():
        return []
    start = f'df["{begin}"]' if begin else "0"
    return [Fault(
        _WHERE, f"{how_many(int(overlaps.sum()))} begin before the same person's row before them ends",
        allowed="one row at a time for a person in a stratum",
        next_step=f'Sorted by person and start, `{start} < df.groupby(person)["{end}"].shift()` finds them.',
    )]  # fmt: skip


def _weight_faults(weights: np.ndarray, name: str | None) -> list[Fault]:
    bad = ~(np.isfinite(weights) & (weights > 0))
    if not bad.any():
        return []
    return [Fault(
        name or "weights", f"{how_many(int(bad.sum()))} are not positive and finite",
        next_step="Leave out rows that weigh nothing, and find out why others are negative.",
    )]  # fmt: skip
