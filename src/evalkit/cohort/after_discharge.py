"""Every admission and every day in hospital after the first discharge of each period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.discharges import STAY_COLUMNS, build_discharges, derive_readmission_cells
from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import how_many
from evalkit.cohort.history import EventHistory
from evalkit.cohort.pathway import UNSEEN, build_day_history
from evalkit.cohort.spells import build_hospital_spells
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse
from evalkit.core.outcomes import ReadmissionOutcome
from evalkit.core.pathway import DEAD
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

STATES = ("out_of_hospital", "in_hospital", DEAD)
CAUSES = ("admission", "death")


@dataclass(frozen=True)
class AfterDischarge:
    """First eligible discharges, one a person and period, and what followed within the horizon.

    `people`: one row a discharge with `person_id, cell` (place in `pathway.CELLS`), `treated, period, exit_days`
    (days followed, at least 1) and `died`, beside the columns of `build_discharges`. `admissions`: `row, day`, days
    from 0. `stays`: `row, start, end`, half-open days in hospital.
    """

    people: pd.DataFrame
    admissions: pd.DataFrame
    stays: pd.DataFrame
    horizon_days: int

    @property
    def died(self) -> np.ndarray:
        return self.people["died"].to_numpy(dtype=bool)


def build_after_discharge(tables: Tables, protocol: Protocol) -> AfterDischarge:
    """Follow the first eligible discharge of each person in each period for `after_discharge.horizon_days`.

    Discharges, cells and censoring are those of the readmission analysis: a `before` discharge is followed no
    further than go-live. Two admissions of a person on one day count once.

    Raises NotEstimable where the protocol does not ask for it or has no readmission outcome, or a cell is empty.
    """
    spec, outcomes = protocol.after_discharge, protocol.outcomes_of("readmission")
    if spec is None or not outcomes:
        raise NotEstimable(Fault("protocol", "it does not ask for what follows discharges",
                                 next_step="Add [after_discharge] and a readmission outcome."))  # fmt: skip
    index = outcomes[0].index_ward_types
    discharges = build_discharges(tables, protocol, index_ward_types=index)
    longest: ReadmissionOutcome = outcomes[0].model_copy(update={"horizon_days": spec.horizon_days})
    rows = derive_readmission_cells(discharges, protocol, longest)
    rows = rows.sort_values(["person_id", "discharge"], kind="stable").drop_duplicates(["person_id", "period"])
    rows = rows.reset_index(drop=True)
    rows["cell"] = np.where(rows["treated"], 0, 2) + (rows["period"] == "before")
    if rows["cell"].nunique() < 4:
        raise NotEstimable(Fault("after_discharge", "treated or comparison people have no discharge in one period"))
    rows = _with_exit(rows, protocol, spec.horizon_days)
    admissions, stays = _later_spells(rows, build_hospital_spells(tables.read("ward_stays", STAY_COLUMNS)))
    return AfterDischarge(rows, admissions, stays, spec.horizon_days)


def _with_exit(rows: pd.DataFrame, protocol: Protocol, horizon: int) -> pd.DataFrame:
    """Add `exit_days` and `died`; who is followed for no whole day counts as followed for one."""
    start = as_days(rows["discharge"])
    last = np.datetime64(protocol.dates.adoption, "D")
    followed = as_days(rows["followed_until"])
    censor = np.where(rows["period"] == "before", np.minimum(followed, last), followed)
    days = np.minimum((censor - start).astype("timedelta64[D]").astype(np.int64), horizon)
    death = as_days(rows["death"])
    died_on = np.where(np.isnat(death), horizon + 1, (death - start).astype("timedelta64[D]").astype(np.int64))
    died = (died_on <= days) & (died_on < horizon)
    exit_days = np.maximum(np.where(died, np.minimum(died_on, days), days), 1)
    return rows.assign(exit_days=exit_days, died=died)


def _later_spells(rows: pd.DataFrame, spells: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    paired = (
        rows[["person_id", "discharge", "exit_days"]].assign(row=np.arange(len(rows))).merge(spells, on="person_id")
    )
    begun = (as_days(paired["start"]) - as_days(paired["discharge"])).astype("timedelta64[D]").astype(np.int64)
    ended = as_days(paired["end"])
    exit_days = paired["exit_days"].to_numpy()
    length = (ended - as_days(paired["discharge"])).astype("timedelta64[D]").astype(np.int64)
    over = np.where(np.isnat(ended), exit_days, np.minimum(length, exit_days))
    later = (as_days(paired["start"]) >= as_days(paired["discharge"])) & (begun < exit_days)
    found = pd.DataFrame({"row": paired["row"], "start": begun, "end": over})[later]
    admissions = found[["row", "start"]].rename(columns={"start": "day"}).drop_duplicates()
    stays = found[found["start"] < found["end"]]
    return admissions.reset_index(drop=True), stays.reset_index(drop=True)


def derive_admission_follow_up(after: AfterDischarge, *, weights: np.ndarray | None = None) -> FollowUp:
    """Intervals between admissions for models of rates: event 1 an admission, 2 death; time in days since discharge.

    An admission on day d ends the interval at d + 1, so that one on the day of discharge has a place. Covariates are
    `treated`, `after` and their product; strata are none, clusters are people. Rows of weight 0 are left out.

    Raises ParameterError for weights of another length, negative or not finite.
    """
    people = after.people
    w = np.ones(len(people)) if weights is None else weights
    refuse(_weight_faults(w, len(people)))
    admitted = after.admissions.assign(stop=after.admissions["day"] + 1.0, event=1)
    admitted = admitted[["row", "stop", "event"]].drop_duplicates()
    last = pd.DataFrame({
        "row": np.arange(len(people)), "stop": people["exit_days"].to_numpy(dtype=np.float64), "event": 2 * after.died
    })  # fmt: skip
    # An admission on the last day closes the follow-up; a death on that day is told by half a day more.
    closed = last.merge(admitted, on=["row", "stop"], how="left", indicator=True)["_merge"].eq("both").to_numpy()
    last["stop"] += 0.5 * (closed & after.died)
    ends = pd.concat([admitted, last[~closed | after.died]]).sort_values(["row", "stop"]).reset_index(drop=True)
    ends["start"] = ends.groupby("row")["stop"].shift(fill_value=0)
    row = ends["row"].to_numpy()
    treated, period = people["treated"].to_numpy()[row], people["period"].eq("after").to_numpy()[row]
    frame = ends.assign(
        treated=treated.astype(float), after=period.astype(float), treated_after=(treated & period).astype(float),
        person=people["person_id"].to_numpy()[row], weight=w[row],
    )  # fmt: skip
    return FollowUp.from_frame(
        frame[frame["weight"] > 0], entry="start", exit="stop", event="event", person="row", cluster="person",
        weights="weight", covariates=("treated", "after", "treated_after"), causes=CAUSES,
    )  # fmt: skip


def _weight_faults(weights: np.ndarray, n: int) -> list[Fault]:
    if np.shape(weights) != (n,):
        return [Fault("weights", "one value a discharge is wanted", got=f"{np.shape(weights)}", allowed=f"({n},)")]
    bad = ~(np.isfinite(weights) & (weights >= 0))
    return [Fault("weights", f"{how_many(int(bad.sum()))} are negative or not finite")] if bad.any() else []


def derive_hospital_days(after: AfterDischarge) -> np.ndarray:
    """Places in `STATES` by day since discharge, int8, shape (n, horizon); `UNSEEN` once no longer followed."""
    people, horizon = after.people, after.horizon_days
    edges = np.zeros((len(people), horizon + 1), dtype=np.int16)
    np.add.at(edges, (after.stays["row"].to_numpy(), after.stays["start"].to_numpy()), 1)
    np.add.at(edges, (after.stays["row"].to_numpy(), after.stays["end"].to_numpy()), -1)
    days = (np.cumsum(edges, axis=1) > 0)[:, :horizon].astype(np.int8)
    over = np.arange(horizon) >= people["exit_days"].to_numpy()[:, None]
    days[over] = UNSEEN
    days[over & after.died[:, None]] = STATES.index(DEAD)
    return days


def derive_hospital_history(after: AfterDischarge, *, weights: np.ndarray | None = None) -> EventHistory:
    """In and out of hospital from discharge on, as intervals; see `pathway.build_day_history`."""
    return build_day_history(derive_hospital_days(after), STATES, after.people, weights=weights)
