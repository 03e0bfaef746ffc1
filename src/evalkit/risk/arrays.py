"""What every measure of risk asks of its arrays, said all at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse

# Fewer discharges than this with the outcome, or without it, and no measure is given.
FEWEST_EVENTS = 10


def risk_faults(risk: np.ndarray, outcome: np.ndarray, person: np.ndarray | None = None) -> list[Fault]:
    """What is wrong with risks (n,), outcomes (n,) and, where they are given, identifiers (n,)."""
    faults, names, shapes = [], "risk, outcome", [np.shape(risk), np.shape(outcome)]
    if person is not None:
        names, shapes = f"{names}, person", [*shapes, np.shape(person)]
    if len(shapes[0]) != 1 or shapes[0][0] == 0 or len(set(shapes)) > 1:
        got = ", ".join(str(shape) for shape in shapes)
        faults.append(Fault(names, "must be of one shape (n,), n above 0", got))
    for name, values in (("risk", risk), ("outcome", outcome)):
        if np.asarray(values).dtype.kind not in "biuf":
            faults.append(Fault(name, "holds no numbers", str(np.asarray(values).dtype), "numbers"))
    if faults:
        return faults
    risk, outcome = np.asarray(risk), np.asarray(outcome)
    if not np.all((risk >= 0) & (risk <= 1)):
        faults.append(Fault("risk", "is missing, below 0 or above 1", allowed="probabilities"))
    if not np.all((outcome == 0) | (outcome == 1)):
        faults.append(Fault("outcome", "is missing or holds other values", allowed="0 and 1"))
    if person is not None and pd.isna(np.asarray(person)).any():
        faults.append(Fault("person", "is missing for some discharges"))
    return faults


def count_faults(counts: np.ndarray, n: int) -> list[Fault]:
    """What is wrong with weights (B, n), such as how often each discharge was drawn."""
    where = "counts"
    if np.ndim(counts) != 2 or np.shape(counts)[1] != n or not len(counts):
        return [Fault(where, "must be of shape (B, n)", str(np.shape(counts)), f"(B, {n}), B above 0")]
    if counts.dtype.kind not in "bu" and not (np.isfinite(counts).all() and counts.min() >= 0):
        return [Fault(where, "are missing, negative or infinite", allowed="0 or more")]
    return []


def check_risks(
    risk: np.ndarray, outcome: np.ndarray, *, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risks (n,), outcomes (n,) as floats, and `counts` (B, n), one row of ones where there are none.

    Fails with `ParameterError` for malformed arrays and with `NotEstimable` where fewer than `FEWEST_EVENTS` of the
    rows are with the outcome, or without it.
    """
    faults = risk_faults(risk, outcome)
    if counts is not None:
        counts = np.asarray(counts)
        faults += count_faults(counts, len(np.atleast_1d(risk)))
    refuse(faults)
    risk, outcome = np.asarray(risk, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    refuse_few(outcome)
    return risk, outcome, np.ones((1, len(risk)), dtype=np.uint8) if counts is None else counts


def refuse_few(outcome: np.ndarray) -> int:
    """How many are in the rarer class of `outcome` (n,); fails with `NotEstimable` below `FEWEST_EVENTS`."""
    fewer = int(min(outcome.sum(), len(outcome) - outcome.sum()))
    if fewer < FEWEST_EVENTS:
        raise NotEstimable(
            Fault(
                "validation of risks",
                "too few discharges with the outcome, or without it",
                got=f"fewer than {FEWEST_EVENTS}",
                allowed=f"{FEWEST_EVENTS} or more of each",
            )
        )
    return fewer
