"""Outcomes of units over periods, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from numbers import Real

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name

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

        Dates begin their periods. Adoption, and periods, may be columns of Python dates or numbers and None;
        the index of `df` is not read.

        Raises ParameterError for a column that is missing or stands in it twice; no rows; units named by
        text and numbers both; a repeated or absent unit-period; periods that are neither dates nor numbers,
        are last days of months, or leave gaps; times in a time zone; an adoption that changes within a unit,
        or lies at or before the first period or after the last; an outcome that is missing, infinite or
        constant, or negative where there is a denominator; a denominator or weight that is not positive and
        finite; covariates that are missing, infinite, collinear or named twice; and where no unit is treated,
        or all are at one time. A single treated unit without others is let through for an interrupted time
        series.
        """
        names = [unit, period, outcome, adoption, *covariates, *(n for n in (denominator, weights) if n)]
        _refuse(_column_faults(df, names, covariates))
        df = df.reset_index(drop=True)
        df[period], df[adoption] = _as_time(df[period]), _as_time(df[adoption])
        _refuse(_kind_faults(df, unit, period, adoption))
        _refuse(
            [
                *_shape_faults(df, unit, period),
                *_adoption_faults(df, unit, period, adoption),
                *_value_faults(df, outcome, denominator, weights),
                *_covariate_faults(df, covariates),
            ]
        )

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
            adoption=adopted.to_numpy().astype(periods.dtype)
            if periods.dtype.kind == "M"
            else adopted.to_numpy(dtype=np.float64),
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
        """The first moment after each period, shape (T,), in calendar months where periods share a day of the month.

        All are taken as long as the shortest step, so that a period left out belongs to none of the others.
        """
        return _ends(self.periods)

    @property
    def consecutive(self) -> bool:
        """Whether no period is left out; False after `without`."""
        return _is_consecutive(self.periods)

    def between(self, start: object, end: object) -> Panel:
        """The same panel with only the periods that begin in `[start, end)`; NotEstimable where there are none."""
        return self._take(np.arange(len(self.units)), np.flatnonzero(self._begin_in(start, end)))

    def without(self, start: object, end: object) -> Panel:
        """The same panel less the periods that begin in `[start, end)`, such as a time of anticipation.

        Raises NotEstimable where no period is left.
        """
        return self._take(np.arange(len(self.units)), np.flatnonzero(~self._begin_in(start, end)))

    def only(self, units: tuple[str, ...]) -> Panel:
        """The same panel with only these units.

        Raises ParameterError for a name that is no unit, and NotEstimable where none is named.
        """
        known, asked = self.units.tolist(), [units] if isinstance(units, str) else list(units)
        names = [str(u) for u in known]
        faults = [
            Fault("units", f'"{u}" is no unit of the panel', next_step=suggest_name(str(u), names))
            for u in asked
            if u not in known
        ]
        _refuse(faults)
        return self._take(np.flatnonzero([u in asked for u in known]), np.arange(len(self.periods)))

    def _begin_in(self, start: object, end: object) -> np.ndarray:
        return (self.periods >= _moment(start, self.periods)) & (self.periods < _moment(end, self.periods))

    def _take(self, rows: np.ndarray, columns: np.ndarray) -> Panel:
        if not len(rows) or not len(columns):
            what = "no period" if len(rows) else "no unit"
            got = f"{len(self.units)} units, {len(self.periods)} periods from {self.periods[0]} to {self.periods[-1]}"
            raise NotEstimable(Fault("panel", f"{what} of it is left by what was asked for", got=got))
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


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise ParameterError(faults)


def _column_faults(df: pd.DataFrame, names: list[str], covariates: tuple[str, ...]) -> list[Fault]:
    """Columns that are missing, doubled or asked for twice, and a frame without rows."""
    columns = [str(c) for c in df.columns]
    faults = []
    for name in dict.fromkeys(names):
        found = int((df.columns == name).sum())
        if not found:
            faults.append(Fault("panel", f'there is no column "{name}"', next_step=suggest_name(name, columns)))
        elif found > 1:
            step = "Rename or drop all but one."
            faults.append(Fault("panel", f'{found} columns are called "{name}"', next_step=step))
    twice = [c for c in dict.fromkeys(covariates) if list(covariates).count(c) > 1]
    faults += [Fault("covariates", f'"{c}" is named more than once', next_step="Name it once.") for c in twice]
    if not faults and df.empty:
        faults.append(Fault("panel", "it has no rows"))
    return faults


def _kind_faults(df: pd.DataFrame, unit: str, period: str, adoption: str) -> list[Fault]:
    """Units that cannot be put in order, times in a time zone, and periods without end."""
    faults = []
    kinds = {isinstance(u, str) for u in df[unit].dropna().unique()}
    if len(kinds) > 1:
        step = "Name all units by text, or number them all."
        faults.append(Fault("panel", f'"{unit}" names some units by text and some by numbers', next_step=step))
    if pd.api.types.is_float_dtype(df[period]) and np.isinf(df[period].to_numpy(np.float64, na_value=np.nan)).any():
        faults.append(Fault("panel", f'"{period}" holds infinite values'))
    for name in dict.fromkeys((period, adoption)):
        if isinstance(df[name].dtype, pd.DatetimeTZDtype) or any(getattr(v, "tzinfo", None) for v in df[name]):
            step = "Take it off: dt.tz_localize(None)."
            faults.append(Fault("panel", f'"{name}" is in a time zone, and dates of a panel have none', next_step=step))
    return faults


def _as_time(column: pd.Series) -> pd.Series:
    """A column of Python dates or numbers, and None, as dates or numbers; any other as it is."""
    there = column.dropna()
    if not pd.api.types.is_object_dtype(column) or there.empty:
        return column
    if all(isinstance(v, date | np.datetime64) and not getattr(v, "tzinfo", None) for v in there):
        return pd.to_datetime(column)
    if all(isinstance(v, Real) and not isinstance(v, bool | np.bool_) for v in there):
        return pd.to_numeric(column.where(column.notna(), np.nan))
    return column


def _moment(value: object, periods: np.ndarray) -> object:
    """`value` such that it can be compared with `periods` exactly, never rounded to their dtype."""
    dates = periods.dtype.kind == "M"
    fits = isinstance(value, str | date | np.datetime64) if dates else isinstance(value, Real)
    moment = pd.to_datetime(value, errors="coerce") if dates and fits else value
    if not fits or pd.isna(moment) or getattr(moment, "tzinfo", None):
        allowed = "a date without time zone" if dates else "a number"
        raise ParameterError(Fault("panel", "its periods cannot be compared with this", repr(value), allowed))
    return moment.to_datetime64() if dates else moment


def _shape_faults(df: pd.DataFrame, unit: str, period: str) -> list[Fault]:
    faults = []
    twice = int(df.duplicated([unit, period]).sum())
    if twice:
        faults.append(Fault("panel", f"{twice} unit-periods stand in it more than once"))
    expected = df[unit].nunique() * df[period].nunique()
    if not twice and len(df) != expected:
        got = f"{len(df)} of {expected} unit-periods"
        step = "Give every unit the same periods, or leave out what lacks some."
        faults.append(Fault("panel", "it is not balanced", got=got, next_step=step))
    if df[unit].isna().any() or df[period].isna().any():
        faults.append(Fault("panel", f'"{unit}" or "{period}" holds missing values'))
    if not _is_time(df[period]):
        what = f'"{period}" holds neither dates nor numbers, so its order is not known'
        faults.append(Fault("panel", what, next_step="Turn periods into their first days, or number them."))
        return faults
    if df[period].nunique() < 2:
        faults.append(Fault("panel", "there are fewer than two periods"))
    elif _are_month_ends(df[period].dropna().drop_duplicates()):
        step = "Use first days of periods, also for adoption."
        faults.append(Fault("panel", f'"{period}" holds last days of months, but dates begin periods', next_step=step))
    elif not _is_consecutive(np.unique(df[period].dropna().to_numpy())):
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


def _are_month_ends(periods: pd.Series) -> bool:
    """Whether each of these is the last day of its own month: names of periods by their ends."""
    if not pd.api.types.is_datetime64_any_dtype(periods):
        return False
    return bool(periods.dt.is_month_end.all() and not periods.dt.strftime("%Y-%m").duplicated().any())


def _is_consecutive(periods: np.ndarray) -> bool:
    """Whether sorted periods are evenly spaced: in calendar months where they count so, else in time."""
    if len(periods) < 3:
        return True
    months = _months(periods)
    steps = np.diff(periods if months is None else months)
    if steps.dtype.kind == "f":
        return bool(np.allclose(steps, steps[0]))
    return bool((steps == steps[0]).all())


def _months(periods: np.ndarray) -> np.ndarray | None:
    """Number of the month of each period, where all share a day of the month and a time of day; else None."""
    if periods.dtype.kind != "M":
        return None
    months = periods.astype("datetime64[M]")
    within = periods - months.astype(periods.dtype)
    return months.astype(np.int64) if len(np.unique(within)) == 1 else None


def _ends(periods: np.ndarray) -> np.ndarray:
    """The first moment after each of sorted periods, shape (T,): as long as the shortest step, or till the next."""
    if len(periods) < 2:
        return periods
    months = _months(periods)
    if months is None:
        ends = periods + np.diff(periods).min()
    else:
        first = periods.astype("datetime64[M]")
        then = first + np.diff(months).min()
        moved = then.astype(periods.dtype) + (periods - first.astype(periods.dtype))
        ends = np.minimum(moved, (then + 1).astype(periods.dtype))  # no 31 April, but 1 May
    return np.append(np.minimum(ends[:-1], periods[1:]), ends[-1:])


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
    late = int((starts >= _ends(np.unique(df[period].dropna().to_numpy()))[-1]).sum())
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
            what = f'covariate "{name}" is constant, or follows from those before it'
            return [Fault("panel", what, next_step="Leave it out.")]
        matrix = wider
    return []
