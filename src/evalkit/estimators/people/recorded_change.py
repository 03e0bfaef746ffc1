"""Change of a share that is not recorded of everybody: difference in changes by person, and what the missing could do.

Each group's share is of those recorded in a period. With person i of a group, r_it = 1 where they are recorded, y_it in
{0, 1}, n_t those recorded and m_t their share, the change m_1 - m_0 has the influence of person i
r_i1 (y_i1 - m_1) / n_1 - r_i0 (y_i0 - m_0) / n_0; its variance is the sum of their squares times N / (N - 1), so that
somebody in both periods counts once (cluster-robust by person). Groups are independent; degrees of freedom are
Satterthwaite's. Where the missing are given an answer, all who could have been asked are recorded (Manski 1990, Am Econ
Rev 80:319; the ends of the bounds with their own errors, Imbens and Manski 2004, Econometrica 72:1845).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.core.chosen import FILLED, Scenario
from evalkit.core.errors import Fault
from evalkit.core.faults import level_faults, refuse


@dataclass(frozen=True)
class Difference:
    """Changes of the two groups (treated first) and their difference, as shares; `df` of the difference."""

    changes: np.ndarray
    errors: np.ndarray
    value: float
    se: float
    df: float

    def interval(self, level: float) -> tuple[float, float]:
        """Interval of the difference; raises ParameterError for a level outside 0 to 1."""
        refuse(level_faults(level))
        half = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.se
        return self.value - half, self.value + half


@dataclass(frozen=True)
class RecordedChange:
    """Numbers of people by group (treated first) and period (before first), shape (2, 2), and what follows.

    `people` could have been asked, `answered` are recorded, `had` said yes. `observed` is from the recorded alone;
    `scenarios` from all, the missing filled in as in `FILLED`.
    """

    people: np.ndarray
    answered: np.ndarray
    had: np.ndarray
    observed: Difference
    scenarios: dict[Scenario, Difference]

    @property
    def shares(self) -> np.ndarray:
        return self.had / self.answered

    @property
    def recorded(self) -> np.ndarray:
        return self.answered / self.people


def compute_recorded_change(had: np.ndarray, asked: np.ndarray, treated: np.ndarray) -> RecordedChange:
    """Difference in changes of a share, and its bounds where records are missing.

    Parameters
    ----------
    had : float array, shape (n, 2)
        1 or 0 of each person before and after; NaN where it is not recorded.
    asked : bool array, shape (n, 2)
        Whether the person could have been asked; records of others do not count.
    treated : bool array, shape (n,)

    Raises
    ------
    ParameterError
        For arrays of other shapes, answers other than 0, 1 and NaN, or a group and period without two records.
    """
    refuse(_shape_faults(had, asked, treated))
    had = np.where(asked, had, np.nan)
    groups = (treated, ~treated)
    people = np.array([asked[g].sum(axis=0) for g in groups], dtype=np.float64)
    answered = np.array([np.isfinite(had[g]).sum(axis=0) for g in groups], dtype=np.float64)
    if answered.min() < 2:
        refuse([Fault("had", "in some group and period fewer than two people are recorded")])
    scenarios = {}
    for name, fill in FILLED.items():
        missing = np.where(treated[:, None], fill[:2], fill[2:])
        scenarios[name] = _difference(np.where(asked & np.isnan(had), missing, had), treated)
    yes = np.array([np.nansum(had[g], axis=0) for g in groups])
    return RecordedChange(people, answered, yes, _difference(had, treated), scenarios)


def _difference(had: np.ndarray, treated: np.ndarray) -> Difference:
    changes, variances, freedom = np.zeros(2), np.zeros(2), np.zeros(2)
    for g, rows in enumerate((had[treated], had[~treated])):
        known = np.isfinite(rows)
        numbers = known.sum(axis=0)
        mean = np.nansum(rows, axis=0) / numbers
        influence = np.where(known, (rows - mean) / numbers, 0.0) @ np.array([-1.0, 1.0])
        somebody = int(known.any(axis=1).sum())
        changes[g] = mean[1] - mean[0]
        variances[g] = (influence**2).sum() * somebody / (somebody - 1)
        freedom[g] = somebody - 1
    total = float(variances.sum())
    df = total**2 / float((variances**2 / freedom).sum()) if total > 0 else float(freedom.sum())
    return Difference(changes, np.sqrt(variances), float(changes[0] - changes[1]), total**0.5, df)


def _shape_faults(had: np.ndarray, asked: np.ndarray, treated: np.ndarray) -> list[Fault]:
    if had.ndim != 2 or had.shape[1] != 2:
        return [Fault("had", "one row a person, before and after, is wanted", f"{had.shape}", "(n, 2)")]
    faults = []
    if asked.shape != had.shape or asked.dtype != bool:
        faults.append(Fault("asked", "yes or no of each entry of `had` is wanted", f"{asked.shape}", f"{had.shape}"))
    if treated.shape != had.shape[:1] or treated.dtype != bool:
        faults.append(Fault("treated", "yes or no of each person is wanted", f"{treated.shape}", f"{had.shape[:1]}"))
    if not np.isin(had[~np.isnan(had)], (0.0, 1.0)).all():
        faults.append(Fault("had", "only 0, 1 and NaN are answers"))
    return faults
