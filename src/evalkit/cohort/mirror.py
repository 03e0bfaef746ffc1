"""The same people, or the same areas, before and after: what an uncontrolled comparison rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.area_counts import event_days, event_table, select_stays
from evalkit.cohort.cohort import build_cohort
from evalkit.cohort.panel import Panel
from evalkit.cohort.residence import COMPARATORS, derive_residence, last_followed
from evalkit.core.dates import DAYS_PER_YEAR, as_days, overlap_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import RateOutcome
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables


@dataclass(frozen=True)
class RateCount:
    """Events and the years in which they could happen."""

    events: float
    years: float


def count_before_after(panel: Panel) -> tuple[RateCount, RateCount]:
    """Events and person-time of the treated areas before and from adoption on."""
    treated = np.flatnonzero(panel.treated)
    after = panel.periods[None, :] >= panel.adoption[treated][:, None]
    counts, time = panel.outcome[treated], panel.denominator[treated]
    return (
        RateCount(float(counts[~after].sum()), float(time[~after].sum())),
        RateCount(float(counts[after].sum()), float(time[after].sum())),
    )


def derive_mirror_counts(tables: Tables, protocol: Protocol, outcome: RateOutcome) -> tuple[RateCount, RateCount]:
    """Events of the treated cohort in windows of one length before and after go-live (a mirror image).

    The cohort was chosen for recent use, so its events fall by themselves: this is the comparison
    that services make of the people they took on, and it is not evidence of effect.
    """
    name = event_table(tables, outcome)
    adoption = np.datetime64(protocol.dates.adoption, "D")
    span = min(
        adoption - np.datetime64(protocol.dates.study_start, "D"), np.datetime64(protocol.dates.end, "D") - adoption
    )
    cohort = build_cohort(tables, protocol).people
    members = set(cohort["person_id"][cohort["group"] != COMPARATORS])
    if not members:
        raise NotEstimable(Fault("cohort", "nobody in the treated area had recent use at go-live"))
    stays = select_stays(tables.read(name), outcome)
    stays = stays[stays["person_id"].isin(members)]
    residence = derive_residence(tables, protocol)
    time = residence
    if outcome.denominator == "residents":
        time = tables.read("placements")
        time = time[time["setting"].isin(outcome.settings)]
    time = time[time["person_id"].isin(members)]
    began = as_days(time["start"])
    ended = _ends(time, residence)

    def count(start: np.datetime64, end: np.datetime64) -> RateCount:
        years = overlap_days(began, ended, start, end).sum() / DAYS_PER_YEAR
        if outcome.event == "ward_days":
            stop = _ends(stays, residence)
            return RateCount(float(overlap_days(as_days(stays["start"]), stop, start, end).sum()), years)
        day = as_days(event_days(stays, residence, outcome)["day"])
        return RateCount(float(((day >= start) & (day < end)).sum()), years)

    return count(adoption - span, adoption), count(adoption, adoption + span)


def _ends(rows: pd.DataFrame, residence: pd.DataFrame) -> np.ndarray:
    """The end of each interval, no later than the person was followed; datetime64[D], shape (n,)."""
    return np.fmin(as_days(rows["end"]), as_days(rows["person_id"].map(last_followed(residence))))
