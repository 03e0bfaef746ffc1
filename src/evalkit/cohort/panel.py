"""Outcomes of units over periods, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError, suggest_name

_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Panel:
    """Outcomes of units over periods, balanced; never-treated adoption is null.

    Attributes
    ----------
    units : array of str, shape (J,)
    periods : array, shape (T,), sorted; dates or numbers
    outcome, denominator : float arrays, shape (J, T)
        `denominator` is 1 where none was given.
    adoption : array of the dtype of `periods`, shape (J,); NaT or NaN for never
    covariates : float array, shape (J, T, K)
    weights : float array, shape (J, T); 1 where none were given
    """

    units: np.ndarray
    periods: np.ndarray
    outcome: np.ndarray
    denominator: np.ndarray
    adoption: np.ndarray
    covariates: np.ndarray
    covariate_names: tuple[str, ...] = ()
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.weights is None:
            object.__setattr__(self, "weights", np.ones_like(self.outcome))

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        unit: str,
        period: str,
        outcome: str,
        adoption: str,
        denominator: str | None = None,
        covariates: tuple[str, ...] = (),
        weights: str | None = None,
    ) -> Panel:
        """Build a panel from one row per unit and period; every fault is listed at once.

        Raises ParameterError for a missing column; a repeated or absent unit-period; periods that are
        neither dates nor numbers, or leave gaps; an adoption that changes within a unit, or lies at or
        before the first period or after the last; an outcome that is missing, infinite or constant, or
        negative where there is a denominator; a denominator or weight that is not positive and finite;
        covariates that are missing, infinite or collinear; and where no unit is treated, or all are at
        one time. A single treated unit without others is let through for an interrupted time series.
        """
        names = [unit, period, outcome, adoption, *covariates, *(n for n in (denominator, weights) if n)]
        absent = [n for n in names if n not in df.columns]
        if absent:
            columns = [str(c) for c in df.columns]
            raise ParameterError(
                [Fault("panel", f'there is no column "{n}"', next_step=suggest_name(n, columns)) for n in absent]
            )
        faults = [
            *_shape_faults(df, unit, period),
            *_adoption_faults(df, unit, period, adoption),
            *_value_faults(df, outcome, denominator, weights),
            *_covariate_faults(df, covariates),
        ]
        if faults:
            raise ParameterError(faults)

        def wide(column: str) -> np.ndarray:
            return df.pivot(index=unit, columns=period, values=column).sort_index().to_numpy(dtype=np.float64)

        index = df.pivot(index=unit, columns=period, values=outcome).sort_index()
        values = index.to_numpy(dtype=np.float64)
        periods = index.columns.to_numpy()
        adopted = df.groupby(unit)[adoption].first().sort_index()
        return cls(
            units=index.index.to_numpy(),
            periods=periods,
            outcome=values,
            denominator=wide(denominator) if denominator else np.ones_like(values),
            adoption=adopted.to_numpy() if periods.dtype.kind == "M" else adopted.to_numpy(dtype=np.float64),
            covariates=np.stack([wide(c) for c in covariates], axis=2) if covariates else np.empty((*values.shape, 0)),
            covariate_names=tuple(covariates),
            weights=wide(weights) if weights else np.ones_like(values),
        )

    @property
    def treated(self) -> np.ndarray:
        """Which units are ever treated, bool, shape (J,)."""
        return ~pd.isna(self.adoption)

    @property
    def values(self) -> np.ndarray:
        """Outcome over denominator, shape (J, T): a rate where there is one, else the outcome itself."""
        return self.outcome / self.denominator

    @property
    def ends(self) -> np.ndarray:
        """The first moment after each period, shape (T,); the last period is taken as long as the one before."""
        if len(self.periods) < 2:
            return self.periods
        return np.append(self.periods[1:], self.periods[-1:] + (self.periods[-1:] - self.periods[-2:-1]))

    @property
    def consecutive(self) -> bool:
        """Whether no period is left out; False after `without`."""
        return _is_consecutive(self.periods)

    def between(self, start: object, end: object) -> Panel:
        """The same panel with only the periods that begin in `[start, end)`."""
        return self._take(np.arange(len(self.units)), np.flatnonzero(self._begin_in(start, end)))

    def without(self, start: object, end: object) -> Panel:
        """The same panel less the periods that begin in `[start, end)`, such as a time of anticipation."""
        return self._take(np.arange(len(self.units)), np.flatnonzero(~self._begin_in(start, end)))

    def only(self, units: tuple[str, ...]) -> Panel:
        """The same panel with only these units."""
        return self._take(np.flatnonzero(np.isin(self.units, units)), np.arange(len(self.periods)))

    def _begin_in(self, start: object, end: object) -> np.ndarray:
        kind = self.periods.dtype
        return (self.periods >= np.asarray(start, kind)) & (self.periods < np.asarray(end, kind))

    def _take(self, rows: np.ndarray, columns: np.ndarray) -> Panel:
        cells = np.ix_(rows, columns)
        return Panel(
            self.units[rows],
            self.periods[columns],
            self.outcome[cells],
            self.denominator[cells],
            self.adoption[rows],
            self.covariates[cells],
            self.covariate_names,
            self.weights[cells],
        )


def _shape_faults(df: pd.DataFrame, unit: str, period: str) -> list[Fault]:
    faults = []
    twice = int(df.duplicated([unit, period]).sum())
    if twice:
        faults.append(Fault("panel", f"{twice} unit-periods stand in it more than once"))
    expected = df[unit].nunique() * df[period].nunique()
    if not twice and len(df) != expected:
        faults.append(
            Fault(
                "panel",
                "it is not balanced",
                got=f"{len(df)} of {expected} unit-periods",
                next_step="Give every unit the same periods, or leave out what lacks some.",
            )
        )
    if df[unit].isna().any() or df[period].isna().any():
        faults.append(Fault("panel", f'"{unit}" or "{period}" holds missing values'))
    if not _is_time(df[period]):
        faults.append(
            Fault(
                "panel",
                f'"{period}" holds neither dates nor numbers, so its order is not known',
                next_step="Turn periods into their first days, or number them.",
            )
        )
        return faults
    if df[period].nunique() < 2:
        faults.append(Fault("panel", "there are fewer than two periods"))
    elif not _is_consecutive(np.sort(df[period].dropna().unique())):
        faults.append(
            Fault(
                "panel",
                "its periods leave gaps",
                got=f"{df[period].nunique()} periods from {df[period].min()} to {df[period].max()}",
                next_step="Give the missing periods, or start the panel after the last gap.",
            )
        )
    return faults


def _is_time(periods: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(periods) or (
        pd.api.types.is_numeric_dtype(periods) and not pd.api.types.is_bool_dtype(periods)
    )


def _is_consecutive(periods: np.ndarray) -> bool:
    """Whether sorted periods are evenly spaced: in calendar months if they share a day of the month, else in days."""
    if len(periods) < 3:
        return True
    steps = np.diff(periods)
    if periods.dtype.kind != "M":
        return bool(np.allclose(steps, steps[0]))
    days = periods.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    if len(np.unique(days - months.astype("datetime64[D]"))) == 1:
        steps = np.diff(months.astype(np.int64))
    return bool((steps == steps[0]).all())


def _adoption_faults(df: pd.DataFrame, unit: str, period: str, adoption: str) -> list[Fault]:
    changing = int((df.groupby(unit)[adoption].nunique(dropna=False) > 1).sum())
    if changing:
        return [Fault("panel", f"adoption changes within {changing} units")]
    starts = df.groupby(unit)[adoption].first()
    never = starts.isna()
    if never.all():
        return [Fault("panel", "no unit is treated", next_step="Give treated units their adoption period.")]
    faults = []
    if len(never) > 1 and not never.any() and starts.nunique() == 1:
        faults.append(Fault("panel", "every unit is treated; none is left to compare with"))
    if not _is_time(df[period]):
        return faults
    if not _is_time(starts.dropna()) or (
        pd.api.types.is_numeric_dtype(starts.dropna()) != pd.api.types.is_numeric_dtype(df[period])
    ):
        return [*faults, Fault("panel", f'"{adoption}" is not of the same kind as "{period}"')]
    early = int((starts <= df[period].min()).sum())
    if early:
        faults.append(
            Fault(
                "panel",
                f"{early} units were treated at or before the first period, so nothing is known of them untreated",
                next_step="Leave these units out, or begin the panel earlier.",
            )
        )
    # A last period that is still running may hold an adoption within it.
    periods = np.sort(df[period].dropna().unique())
    after = periods[-1] + (periods[-1] - periods[-2]) if len(periods) > 1 else periods[-1]
    late = int((starts >= after).sum())
    if late:
        faults.append(
            Fault(
                "panel",
                f"{late} units were treated after the last period",
                next_step="Set their adoption to null: within this panel they are untreated.",
            )
        )
    return faults


def _value_faults(df: pd.DataFrame, outcome: str, denominator: str | None, weights: str | None) -> list[Fault]:
    faults = []
    values = pd.to_numeric(df[outcome], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        faults.append(Fault("panel", f'"{outcome}" holds missing or infinite values'))
    elif denominator and (values < 0).any():
        faults.append(Fault("panel", f'"{outcome}" holds negative values', allowed="0 or more with a denominator"))
    elif len(values) > 1 and (values == values[0]).all():
        faults.append(Fault("panel", f'"{outcome}" is the same in every unit-period, so there is nothing to compare'))
    for name in (denominator, weights):
        if name:
            time = pd.to_numeric(df[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            if not (np.isfinite(time) & (time > 0)).all():
                faults.append(Fault("panel", f'"{name}" holds values that are missing, infinite or not above 0'))
    return faults


def _covariate_faults(df: pd.DataFrame, covariates: tuple[str, ...]) -> list[Fault]:
    values = {c: pd.to_numeric(df[c], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan) for c in covariates}
    bad = [c for c, v in values.items() if not np.isfinite(v).all()]
    if bad:
        return [Fault("panel", f'covariate "{c}" holds missing or infinite values') for c in bad]
    matrix = np.ones((len(df), 1))
    for name, column in values.items():
        scale = np.abs(column).max()
        wider = np.column_stack([matrix, column / scale if scale > 0 else column])
        if np.linalg.matrix_rank(wider, tol=_RANK_TOLERANCE * np.sqrt(len(df))) <= matrix.shape[1]:
            return [
                Fault(
                    "panel",
                    f'covariate "{name}" is constant, or follows from those before it',
                    next_step="Leave it out.",
                )
            ]
        matrix = wider
    return []
