"""People of two sides, with what was known of them before and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evalkit.cohort.frames import codes, design_columns, how_many, numbers, require_columns
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse

_WHERE = "comparison"
MIN_SIDE = 2


@dataclass(frozen=True)
class Comparison:
    """People of a treated and a comparison side, checked by `from_frame`. Outcomes are not needed to balance them.

    Attributes
    ----------
    treated : bool array, shape (n,)
    covariates : float array, shape (n, p), with `names`; text has become indicators
    outcome, before : float arrays, shape (n,), or None
        `before` is the same outcome in a time before anybody was treated, for differences-in-differences.
    cluster : int array, shape (n,), codes from 0: rows that are not independent share one
    sampling : float array, shape (n,), positive sampling weights
    person_time : float array, shape (n,), or None; positive, where the outcome is a count
    """

    treated: np.ndarray
    covariates: np.ndarray
    names: tuple[str, ...]
    outcome: np.ndarray | None
    before: np.ndarray | None
    cluster: np.ndarray
    sampling: np.ndarray
    person_time: np.ndarray | None = None

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        treatment: str,
        covariates: tuple[str, ...],
        outcome: str | None = None,
        before: str | None = None,
        cluster: str | None = None,
        sampling: str | None = None,
        person_time: str | None = None,
    ) -> Comparison:
        """Build from one row a person; every fault is listed at once, no row is shown.

        Raises ParameterError for missing columns; values that are missing or infinite (impute first, see
        `pool_imputations`); a treatment that is not 0/1 or yes/no; a covariate that is the treatment or the outcome;
        weights or person-time that are not positive. NotEstimable where a side has fewer than two people.
        """
        require_columns(df, [treatment, *covariates, outcome, before, cluster, sampling, person_time], where=_WHERE)
        df = df.reset_index(drop=True)
        sides, faults = numbers(df, treatment)
        if not faults and not np.isin(sides, (0.0, 1.0)).all():
            faults = [Fault(treatment, "the treatment holds other values", allowed="0 and 1, or True and False")]
        twice = [name for name in covariates if name in (treatment, outcome, cluster) or covariates.count(name) > 1]
        faults += [Fault(name, "this column cannot be a covariate too") for name in dict.fromkeys(twice)]
        x, names, wrong_covariates = design_columns(df, covariates)
        group, _, wrong_clusters = codes(df, cluster)
        columns: dict[str, np.ndarray | None] = {}
        for name in (outcome, before, sampling, person_time):
            if name is not None:
                columns[name], wrong = numbers(df, name)
                faults += wrong
        refuse([*faults, *wrong_covariates, *wrong_clusters])
        refuse([
            Fault(name, f"{how_many(int((columns[name] <= 0).sum()))} are not positive")
            for name in (sampling, person_time) if name is not None and (columns[name] <= 0).any()
        ])  # fmt: skip
        treated = sides == 1
        if min(treated.sum(), (~treated).sum()) < MIN_SIDE:
            raise NotEstimable(Fault(treatment, "one side has nobody, or one person only"))
        return cls(
            treated, x, names,
            columns[outcome] if outcome else None, columns[before] if before else None,
            group, columns[sampling] if sampling else np.ones(len(df)),
            columns[person_time] if person_time else None,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.treated)

    def select(self, rows: np.ndarray) -> Comparison:
        """The same comparison with only these rows (bool or places)."""
        arrays = ("treated", "covariates", "outcome", "before", "cluster", "sampling", "person_time")
        chosen = {name: getattr(self, name) for name in arrays}
        return replace(self, **{name: value[rows] for name, value in chosen.items() if value is not None})
