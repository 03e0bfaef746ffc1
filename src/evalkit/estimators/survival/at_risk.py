"""Who is at risk, has had events and has been censored by chosen times: rows and weights side by side."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import as_numbers
from evalkit.core.errors import Fault, ParameterError
from evalkit.estimators.survival.curves import iterate_strata


def build_at_risk_table(follow_up: FollowUp, times: Iterable[float]) -> pd.DataFrame:
    """Numbers at risk at each time, and events and censorings up to it, by stratum.

    At risk at t are those who enter before t and leave at t or later, as R counts them; at or before the earliest
    entry, those who enter at that entry. Events and censorings are those at or before t since the start. People
    whose next row begins where the last ended are not censored between; who comes back after a gap was censored, and
    entered anew.

    Returns
    -------
    DataFrame, one row a stratum and time: `stratum, time`; `at_risk, events, censored, entered` count rows, so people
    at risk and their events; `at_risk_weighted, events_weighted, censored_weighted` sum weights; `at_risk_effective`
    is Kish's (sum of weights)^2 / sum of squares, how many people of equal weight would tell as much; and
    `events.<cause>`, `events_weighted.<cause>` where there are several causes. It holds small counts: it goes
    through disclosure control before it is shown.

    Raises ParameterError for times that are missing or not in order.
    """
    at = as_numbers(times, "times")
    if not len(at) or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise ParameterError(Fault("times", "must be finite, in order and each once", got=f"{len(at)} times"))
    goes_on, comes_on = find_joins(follow_up)
    parts = []
    for label, rows in iterate_strata(follow_up):
        parts.append(_count(follow_up.select(rows), goes_on[rows], comes_on[rows], at).assign(stratum=label))
    frame = pd.concat(parts, ignore_index=True)
    return frame[["stratum", *(c for c in frame.columns if c != "stratum")]]


def find_joins(follow_up: FollowUp) -> tuple[np.ndarray, np.ndarray]:
    """Rows that the same person's next row in the stratum goes on from, and rows that go on from one, bool (n,)."""
    order = np.lexsort((follow_up.entry, follow_up.stratum, follow_up.person))
    person, stratum = follow_up.person[order], follow_up.stratum[order]
    joined = (person[1:] == person[:-1]) & (stratum[1:] == stratum[:-1])
    joined &= follow_up.exit[order][:-1] == follow_up.entry[order][1:]
    goes_on, comes_on = np.zeros(len(order), dtype=bool), np.zeros(len(order), dtype=bool)
    goes_on[order[:-1]], comes_on[order[1:]] = joined, joined
    return goes_on, comes_on


def _count(part: FollowUp, goes_on: np.ndarray, comes_on: np.ndarray, at: np.ndarray) -> pd.DataFrame:
    ones, w = np.ones(len(part)), part.weights
    is_event = part.event > 0
    censored = ~is_event & ~goes_on
    entering = np.maximum(at, np.nextafter(part.entry.min(), np.inf))  # at the start, who enters at the start

    def by(moments: np.ndarray, values: np.ndarray, times: np.ndarray, *, side: str) -> np.ndarray:
        order = np.argsort(moments, kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(values[order])])
        return sums[np.searchsorted(moments[order], times, side=side)]

    def at_risk(values: np.ndarray) -> np.ndarray:
        there = by(part.entry, values, entering, side="left") - by(part.exit, values, entering, side="left")
        return np.where(number > 0, there, 0.0)

    number = by(part.entry, ones, entering, side="left") - by(part.exit, ones, entering, side="left")
    weighted, squares = at_risk(w), at_risk(w**2)
    columns = {
        "time": at,
        "at_risk": number.astype(np.int64),
        "at_risk_weighted": weighted,
        "at_risk_effective": np.divide(weighted**2, squares, out=np.zeros(len(at)), where=number > 0),
    }
    kinds = {"events": is_event, "censored": censored}
    if len(part.causes) > 1:
        kinds |= {f"events.{name}": part.event == k for k, name in enumerate(part.causes, 1)}
    for name, rows in kinds.items():
        stem, _, cause = name.partition(".")
        weighted_name = f"{stem}_weighted" + (f".{cause}" if cause else "")
        columns[name] = by(part.exit[rows], ones[rows], at, side="right").astype(np.int64)
        columns[weighted_name] = by(part.exit[rows], w[rows], at, side="right")
    # Entered by t: whoever has begun, new or back from a gap.
    begins = ~comes_on
    columns["entered"] = by(part.entry[begins], ones[begins], entering, side="left").astype(np.int64)
    return pd.DataFrame(columns)
