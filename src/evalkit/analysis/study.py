"""A protocol and its tables, opened once, and the way results leave a notebook."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evalkit.analysis.reads import follow_results
from evalkit.core.errors import NotEstimable
from evalkit.core.outcomes import Outcome
from evalkit.core.protocol import Protocol, load_protocol
from evalkit.core.result import Estimate, Results, Role, not_estimable
from evalkit.data.tables import Tables, open_tables


@dataclass(frozen=True)
class Study:
    """What every analysis starts from."""

    protocol: Protocol
    tables: Tables

    def rng(self, name: str) -> np.random.Generator:
        """A generator of its own for each named use, so that adding one analysis moves no other."""
        return np.random.default_rng([self.protocol.study.seed, zlib.crc32(name.encode())])

    @property
    def level(self) -> float:
        return self.protocol.study.level


def open_study(protocol: Path | str, data: Path | str) -> Study:
    """Load the protocol and open the tables; raises ProtocolError or DataError."""
    return Study(load_protocol(protocol), open_tables(data))


def attempt(
    study: Study, outcome: Outcome, estimator: str, role: Role, estimate: Callable[[], Estimate], *, label: str = ""
) -> Estimate:
    """The estimate, or one that says why there is none."""
    try:
        return estimate()
    except NotEstimable as refusal:
        return not_estimable(study.protocol.estimand(outcome), estimator, role=role, reason=refusal.reason, label=label)


# Tables that stay in the workings. Each is many functions of a few areas' counts by period, from which these were
# worked back, or whose rounding would leave nothing to see (docs/disclosure.md, section 8).
HELD = (
    "anticipation", "at_risk", "balance_more", "drop_one", "gap", "its", "occupancy", "placebo_time", "propensity",
    "risk_instability_calibration",
    "synthetic", "transitions", "weights", "xmr", "checks.anticipation", "checks.designs", "checks.neighbourhood",
)  # fmt: skip


def is_held(table: str) -> bool:
    """Whether a table never reaches the gate, by its name or the part of it before the outcome."""
    return any(table == name or table.startswith(f"{name}.") for name in HELD)


def save_results(study: Study, parts: Iterable[Results], *, notebook: str, workings: Path | str) -> Results:
    """Stamp the numbers with their origin and write `<workings>/results/<notebook>.parquet`, which the gate reads.

    An estimate that the protocol does not ask for becomes exploratory, whatever role it was given. Tables
    that are `HELD` go to `<workings>/held/<notebook>.parquet`, which nothing reads. Returns both; which cells of a
    notebook read which table is noted (`evalkit.analysis.reads`).
    """
    frame = Results.concat(parts).frame
    planned = [study.protocol.is_planned(*pair) for pair in zip(frame["estimand"], frame["estimator"], strict=True)]
    frame.loc[(frame["kind"] == "estimate") & ~np.array(planned, dtype=bool), "role"] = "exploratory"
    results = Results(frame).stamped(notebook=notebook, protocol=study.protocol.digest, data=study.tables.digest)
    held = np.array([is_held(str(table)) for table in results.frame["table"]], dtype=bool)
    for name, rows in (("results", ~held), ("held", held)):
        if rows.any() or name == "results":
            folder = Path(workings) / name
            folder.mkdir(parents=True, exist_ok=True)
            Results(results.frame[rows]).save(folder / f"{notebook}.parquet")
    return follow_results(results, notebook=notebook, workings=workings)
