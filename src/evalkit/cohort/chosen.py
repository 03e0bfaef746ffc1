"""Who of the cohort at go-live had or did what people chose, in the year before it and in the year after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.cohort import build_cohort
from evalkit.cohort.residence import COMPARATORS, derive_residence
from evalkit.core.chosen import WHY_NO_ITEM, ChosenOutcome, ChosenRecord
from evalkit.core.dates import Window, as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

TABLES: dict[ChosenRecord, str] = {"activity": "activities", "health_check": "health_checks", "answers": "assessments"}
_COLUMNS: dict[ChosenRecord, tuple[str, str, str]] = {
    "activity": ("activity", "status", ""), "health_check": ("check", "done", ""),
    "answers": ("item", "score", "instrument"),
}  # fmt: skip


@dataclass(frozen=True)
class ChosenRecords:
    """What was last recorded of each person in each window; windows stand in the order in which they were given.

    `person_id` (n,); `treated` (n,) bool; `asked` (n, W) bool: alive and answered for by an area on some day of the
    window, so that somebody could have asked. `had` (n, W) by key: 1 had it, 0 had it not, NaN not recorded. `why_not`
    says of the other keys why they have no record at all.
    """

    person_id: np.ndarray
    treated: np.ndarray
    asked: np.ndarray
    had: Mapping[str, np.ndarray]
    why_not: Mapping[str, str]


def build_chosen(tables: Tables, protocol: Protocol, *, windows: tuple[Window, ...]) -> ChosenRecords:
    """The cohort at go-live (`build_cohort`) with its records of `protocol.chosen` in each window.

    Areas are those of go-live: intention to treat. Records of days on which nobody answered for the person are left
    out, and of several records in a window the last counts, so that more records are no more chances of a yes.

    Raises NotEstimable where there is no table people, somebody stands in it twice, or nobody of one of the two
    groups is in the cohort.
    """
    if not tables.has("people"):
        raise NotEstimable(Fault("tables", "there is no table people"))
    people = build_cohort(tables, protocol).people
    treated = (people["group"] != COMPARATORS).to_numpy(dtype=bool)
    if people["person_id"].duplicated().any():
        raise NotEstimable(Fault("people.person_id", "some people stand in the table twice"))
    empty = [name for name, some in (("treated", treated.any()), ("comparison", (~treated).any())) if not some]
    if empty:
        raise NotEstimable(Fault("cohort", f"nobody is in it at go-live: {', '.join(empty)}"))
    person = people["person_id"].to_numpy()
    residence = derive_residence(tables, protocol)
    residence = residence[residence["person_id"].isin(person)]
    asked = np.column_stack([_followed_in(residence, person, window) for window in windows])
    had: dict[str, np.ndarray] = {}
    why_not: dict[str, str] = {}
    rows: dict[ChosenRecord, pd.DataFrame] = {}
    for item in protocol.chosen:
        if item.record != "none" and item.record not in rows and tables.has(TABLES[item.record]):
            rows[item.record] = _read_records(tables, residence, item.record)
        why_not[item.key] = _why_no_record(item, rows.get(item.record))
        if not why_not[item.key]:
            had[item.key] = np.column_stack([_had(rows[item.record], person, item, window) for window in windows])
    return ChosenRecords(person, treated, asked, had, {key: why for key, why in why_not.items() if why})


def _followed_in(residence: pd.DataFrame, person: np.ndarray, window: Window) -> np.ndarray:
    start, end = as_days(residence["start"]), as_days(residence["end"])
    inside = (start < np.datetime64(window.end, "D")) & (end > np.datetime64(window.start, "D"))
    return np.isin(person, residence["person_id"].to_numpy()[inside])


def _read_records(tables: Tables, residence: pd.DataFrame, record: ChosenRecord) -> pd.DataFrame:
    """Records of days on which somebody answered for the person: `person_id, day, what, answer, instrument`."""
    what, answer, instrument = _COLUMNS[record]
    rows = tables.read(TABLES[record], ["person_id", "date", what, answer, *([instrument] if instrument else [])])
    rows = rows[rows["person_id"].isin(residence["person_id"].unique()) & rows["date"].notna()].reset_index(drop=True)
    rows = pd.DataFrame({
        "person_id": rows["person_id"], "day": as_days(rows["date"]), "what": rows[what], "answer": rows[answer],
        "instrument": rows[instrument] if instrument else "", "record": np.arange(len(rows)),
    })  # fmt: skip
    stays = pd.DataFrame({
        "person_id": residence["person_id"], "start": as_days(residence["start"]), "end": as_days(residence["end"]),
    })  # fmt: skip
    found = rows[["person_id", "day", "record"]].merge(stays, on="person_id")
    # The last day counts, as for discharges: somebody may be asked on the day they move away.
    seen = found["record"][(found["start"] <= found["day"]) & (found["day"] <= found["end"])].unique()
    return rows[rows["record"].isin(seen)].drop(columns="record")


def _why_no_record(item: ChosenOutcome, rows: pd.DataFrame | None) -> str:
    if item.record == "none":
        return WHY_NO_ITEM
    if rows is None:
        return f"There is no table {TABLES[item.record]}."
    if not len(_answers(rows, item)):
        return f"Table {TABLES[item.record]} holds no such answer of these people."
    return ""


def _answers(rows: pd.DataFrame, item: ChosenOutcome) -> pd.DataFrame:
    """The rows that answer: `person_id, day, what, value`, value 1 or 0 or, of a questionnaire, the answer."""
    match item.record:
        case "activity":
            rows = rows[rows["what"].isin(item.activities) & rows["answer"].isin([*item.yes, *item.no])]
            return rows.assign(value=rows["answer"].isin(item.yes).astype(np.float64))
        case "health_check":
            rows = rows[rows["what"].isin(item.checks) & rows["answer"].notna()]
            return rows.assign(value=rows["answer"].astype(np.float64))
        case _:
            score = pd.to_numeric(rows["answer"], errors="coerce").astype(np.float64)
            asked = rows["instrument"].eq(item.instrument) & rows["what"].isin(item.items)
            kept = asked & score.between(*item.scale)
            return rows[kept].assign(value=score[kept])


def _had(rows: pd.DataFrame, person: np.ndarray, item: ChosenOutcome, window: Window) -> np.ndarray:
    """1, 0 or NaN of each person, from the last record in the window; shape (n,)."""
    rows = _answers(rows, item)
    rows = rows[(rows["day"] >= np.datetime64(window.start, "D")) & (rows["day"] < np.datetime64(window.end, "D"))]
    if item.record == "answers":
        last = rows[rows["day"] == rows.groupby("person_id")["day"].transform("max")]
        mean = last.groupby("person_id")["value"].mean()
        return (mean >= item.at_least).astype(np.float64).reindex(person).to_numpy()
    last = rows[rows["day"] == rows.groupby(["person_id", "what"])["day"].transform("max")]
    each = last.groupby(["person_id", "what"])["value"].max().groupby("person_id").agg(["max", "size"])
    # A yes to one is a yes; a no needs an answer to all.
    settled = each["max"].where((each["max"] == 1) | (each["size"] == len(item.activities or item.checks)))
    return settled.reindex(person).to_numpy(dtype=np.float64)
