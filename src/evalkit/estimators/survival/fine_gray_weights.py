"""How long people with a competing event stay in the Fine-Gray risk set: censoring and entry distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.survival.cox_sums import compute_time_codes

TiedCensoring = Literal["after_events", "with_events"]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Ends:
    """Which rows end a person's follow-up unseen and which begin it; bool arrays, shape (n,).

    A row is `censored` if it ends without any event and the same person's next row in the same stratum does not
    begin where it ends; it is `starting` if no row of that person ends where it begins.
    """

    censored: np.ndarray
    starting: np.ndarray


@dataclass(frozen=True)
class Product:
    """A product-limit estimate by steps: at each of `times` (m,) `leaving` of `at_risk` leave, both (m,)."""

    times: np.ndarray
    leaving: np.ndarray
    at_risk: np.ndarray


@dataclass(frozen=True)
class GroupWeights:
    """Censoring and entry distributions of one group of rows; `last_time` is its last time under observation."""

    rows: np.ndarray
    censoring: Product
    entering: Product
    last_time: float

    def compute_at(self, times: np.ndarray) -> np.ndarray:
        """P(not yet censored) times P(already entered) just before each time, up to a constant; 0 after the last.

        G(t-) is the product over censoring times below t, H(t-) over entry times from t on (Geskus 2011, eq. 5).
        """
        left = 1.0 - self.censoring.leaving / self.censoring.at_risk
        entered = 1.0 - self.entering.leaving / self.entering.at_risk
        g = np.concatenate([[1.0], np.cumprod(left)])[np.searchsorted(self.censoring.times, times, "left")]
        h = np.concatenate([np.cumprod(entered[::-1])[::-1], [1.0]])[np.searchsorted(self.entering.times, times)]
        return np.where(times <= self.last_time, g * h, 0.0)


def merge_close_times(follow_up: FollowUp) -> FollowUp:
    """The same follow-up with times that differ by rounding alone made one, so that ties are ties."""
    entry, leave, times = compute_time_codes(follow_up)
    return replace(follow_up, entry=times[entry], exit=times[leave])


def derive_ends(follow_up: FollowUp) -> Ends:
    """Rows that are censored and rows that begin a person's follow-up; see `Ends`."""
    f = follow_up
    order = np.lexsort((f.exit, f.entry, f.stratum, f.person))
    same = (f.person[order][1:] == f.person[order][:-1]) & (f.stratum[order][1:] == f.stratum[order][:-1])
    joined = same & (f.entry[order][1:] == f.exit[order][:-1])
    goes_on, goes_back = np.zeros(len(f), dtype=bool), np.zeros(len(f), dtype=bool)
    goes_on[order[:-1]] = joined
    goes_back[order[1:]] = joined
    return Ends((f.event == 0) & ~goes_on, ~goes_back)


def fit_group_weights(
    follow_up: FollowUp, ends: Ends, group: np.ndarray, mass: np.ndarray, *, tied: TiedCensoring
) -> dict[int, GroupWeights]:
    """Distributions of censoring and of entry in each group, by group code.

    Parameters
    ----------
    group : int array, shape (n,)
    mass : float array, shape (n,)
        What each row counts for.
    tied : whether somebody with an event at a time is at risk of being censored at that time ("with_events") or
        has left before ("after_events").

    Raises
    ------
    NotEstimable
        Between two entries nobody is under observation, so that the entry distribution cannot be had.
    """
    found = {}
    for code in np.unique(group):
        rows = np.flatnonzero(group == code)
        f, w = follow_up.select(rows), mass[rows]
        censored, starting = ends.censored[rows], ends.starting[rows]
        gone = f.exit[f.event > 0] if tied == "after_events" else np.empty(0)
        gone_mass = w[f.event > 0] if tied == "after_events" else np.empty(0)
        times, leaving = _totals(f.exit[censored], w[censored])
        at_risk = _below(f.entry, w, times) - _below(f.exit, w, times) - _at(gone, gone_mass, times)
        begins, entering = _totals(f.entry[starting], w[starting])
        present = _below(f.entry, w, begins, side="right") - _below(f.exit, w, begins, side="right")
        empty = (entering >= present * (1 - 1e-12))[1:]
        if empty.any():
            raise NotEstimable(Fault(
                "follow-up", "there are times between two entries at which nobody is under observation",
                next_step="Begin at a time from which somebody is followed throughout.",
            ))  # fmt: skip
        found[int(code)] = GroupWeights(
            rows, Product(times, leaving, at_risk), Product(begins, entering, present), float(f.exit.max())
        )
    return found


def _totals(values: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times, place = np.unique(values, return_inverse=True)
    return times, np.bincount(place, weights=mass, minlength=len(times))


def _below(values: np.ndarray, mass: np.ndarray, at: np.ndarray, *, side: Side = "left") -> np.ndarray:
    """Mass of the values below each time (or, from the right, at it too)."""
    order = np.argsort(values, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(mass[order])])
    return total[np.searchsorted(values[order], at, side)]


def _at(values: np.ndarray, mass: np.ndarray, at: np.ndarray) -> np.ndarray:
    return _below(values, mass, at, side="right") - _below(values, mass, at)
