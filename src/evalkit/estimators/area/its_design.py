"""What an interrupted time series is fitted to: options, the faults of a panel, and the segmented design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.estimators.area.contrasts import shared_start

Family = Literal["gaussian", "poisson", "quasipoisson", "negative_binomial"]
Control = Literal["none", "pooled", "each"]
Errors = Literal["reml_ar", "ml_ar", "prais_winsten", "newey_west", "model"]
AR_ERRORS = ("reml_ar", "ml_ar", "prais_winsten")
MIN_PERIODS = 3  # on either side of adoption


@dataclass(frozen=True)
class ItsOptions:
    """Options of `fit_its` and `estimate_its`.

    Attributes
    ----------
    family : gaussian on rates, or a count family with a log link and the log denominator as offset
    control : no control; all untreated units pooled to one series; or each untreated unit its own rows
    errors : how serial correlation is met
        `reml_ar` (default): AR(1) by restricted likelihood, its interval averaged over rho; `ml_ar`:
        AR(`ar_order`) by maximum likelihood; `prais_winsten`: iterated; `newey_west`: least squares or
        GLM with that covariance, `lags` or floor(4 (n/100)^(2/9)); `model`: as if independent.
    ar_order : order of `ml_ar`
    lags : of `newey_west`; None for the rule above
    harmonics : pairs of sine and cosine, phase counted from 1 at the first period
    periods_per_year : length of the seasonal cycle in periods; needed with `harmonics`
    slope : whether the slope may change as well as the level
    centring : where the slope change counts from
        `adoption` makes the level change that at adoption. `first_period` numbers periods from 1, so
        that the level change is an extrapolation to period 0 (the published slip of Lopez Bernal et
        al. 2017, corrected by its authors); for comparison with such results only.
    level : of intervals
    """

    family: Family = "gaussian"
    control: Control = "none"
    errors: Errors = "reml_ar"
    ar_order: int = 1
    lags: int | None = None
    harmonics: int = 0
    periods_per_year: int | None = None
    slope: Literal["level", "level_and_slope"] = "level_and_slope"
    centring: Literal["adoption", "first_period"] = "adoption"
    level: float = 0.95


DEFAULTS = ItsOptions()


@dataclass(frozen=True)
class ItsDesign:
    """Rows of one regression: n rows of one or more series, k columns.

    Attributes
    ----------
    outcome, exposure, offset : float arrays, shape (n,)
        Events or values summed over the units of a series, their denominators, and what is added to
        the linear predictor: the log denominator of counts; the control's rate where the difference
        of treated and control is modelled; else 0.
    x, untreated : float arrays, shape (n, k)
        The design, and the same with the columns of the effect at 0.
    names : tuple of str, length k
    series, time : int arrays, shape (n,)
        Which series a row is of, and its place on the regular grid of periods.
    treated : bool array, shape (n,)
        Rows of the treated series; `treated` rows are in the order of `periods`.
    periods : array, shape (T,)
    after : bool array, shape (T,)
    differenced : bool
        Whether the rows are the difference of treated and pooled control.
    """

    outcome: np.ndarray
    exposure: np.ndarray
    offset: np.ndarray
    x: np.ndarray
    untreated: np.ndarray
    names: tuple[str, ...]
    series: np.ndarray
    time: np.ndarray
    treated: np.ndarray
    periods: np.ndarray
    after: np.ndarray
    differenced: bool

    @property
    def rate(self) -> np.ndarray:
        """Outcome over exposure, shape (n,)."""
        return self.outcome / self.exposure


def build_design(panel: Panel, options: ItsOptions) -> ItsDesign:
    """Series, time and segmented regressors of a panel; every fault of panel and options at once.

    A period in which adoption falls belongs to neither side and is left out, as are periods that the
    panel lacks; both stay gaps on the grid. With `control="pooled"` and AR errors of gaussian series
    the difference of treated and control is modelled: its coefficients are the interactions of the
    two-group model (Linden 2015, Stata Journal 15:480) and shocks common to both cancel.

    Raises ParameterError or NotEstimable.
    """
    _check_options(options)
    first = shared_start(panel.adoption, panel.periods)
    start = panel.adoption[panel.treated][0]
    clean = int(np.searchsorted(panel.ends, start, side="right"))
    place = np.arange(len(panel.periods))
    kept = (place < min(clean, first)) | (place >= first)
    grid = grid_places(panel.periods)[kept]
    after = (place >= first)[kept]
    adopted = int(grid[after][0])
    _check_panel(panel, options, after)
    segments, names, effect = _segments(grid, after, adopted, options)
    _check_rows(segments, len(grid), options)

    def pooled(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return panel.outcome[np.ix_(rows, kept)].sum(axis=0), panel.denominator[np.ix_(rows, kept)].sum(axis=0)

    controls = {"none": [], "pooled": [~panel.treated], "each": list(np.eye(len(panel.units), dtype=bool))}
    groups = [g for g in controls[options.control] if not (g & panel.treated).any()]
    outcome, exposure = (np.stack(a) for a in zip(*(pooled(g) for g in [panel.treated, *groups]), strict=True))
    log_link = options.family != "gaussian"
    if options.control != "none" and options.errors in AR_ERRORS and not log_link:
        x = segments
        offset = outcome[1] / exposure[1]
        names = tuple("treated" if n == "intercept" else f"treated:{n}" for n in names)
        outcome, exposure = outcome[:1], exposure[:1]
    else:
        x = np.tile(segments, (len(outcome), 1))
        if options.control != "none":
            is_treated = np.repeat(np.arange(len(outcome)) == 0, len(grid))
            x = np.column_stack([x, x * is_treated[:, None]])
            names = (*names, *("treated" if n == "intercept" else f"treated:{n}" for n in names))
            effect = np.concatenate([np.zeros_like(effect), effect])
        offset = np.log(exposure).ravel() if log_link else np.zeros(exposure.size)
    return ItsDesign(
        outcome=outcome.ravel(),
        exposure=exposure.ravel(),
        offset=offset,
        x=x,
        untreated=np.where(effect, 0.0, x),
        names=names,
        series=np.repeat(np.arange(len(outcome)), len(grid)),
        time=np.tile(grid, len(outcome)),
        treated=np.repeat(np.arange(len(outcome)) == 0, len(grid)),
        differenced=options.control != "none" and options.errors in AR_ERRORS and not log_link,
        periods=panel.periods[kept],
        after=after,
    )


def grid_places(periods: np.ndarray) -> np.ndarray:
    """Whole steps from the first period, shape (T,): in months where dates share a day of the month.

    The step is the shortest between neighbours. Raises ParameterError where the others are no multiples of it.
    """
    if periods.dtype.kind == "M":
        days = periods.astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        same_day = len(np.unique(days - months.astype("datetime64[D]"))) == 1
        places = (months if same_day else days).astype(np.int64).astype(np.float64)
    else:
        places = periods.astype(np.float64)
    places = places - places[0]
    steps = places / np.diff(places).min()
    if not np.allclose(steps, np.round(steps), atol=1e-6):
        raise ParameterError(
            Fault("panel", "its periods lie on no regular grid", next_step="Count by equal periods, such as quarters.")
        )
    return np.round(steps).astype(np.int64)


def _segments(
    grid: np.ndarray, after: np.ndarray, adopted: int, options: ItsOptions
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Intercept, time, level, slope and harmonics of one series; which columns are the effect."""
    columns = {"intercept": np.ones(len(grid)), "time": grid.astype(float), "level": after.astype(float)}
    if options.slope == "level_and_slope":
        since = grid - adopted if options.centring == "adoption" else grid + 1
        columns["slope"] = np.where(after, since, 0).astype(float)
    effect = [name in ("level", "slope") for name in columns]
    for h in range(1, options.harmonics + 1):
        angle = 2 * np.pi * h * (grid + 1) / options.periods_per_year
        if 2 * h < options.periods_per_year:  # at half the cycle the sine is 0 throughout
            columns[f"sin{h}"] = np.sin(angle)
        columns[f"cos{h}"] = np.cos(angle)
    x = np.column_stack(list(columns.values()))
    return x, tuple(columns), np.array(effect + [False] * (x.shape[1] - len(effect)))


def _check_options(options: ItsOptions) -> None:
    faults = []
    counts = options.family != "gaussian"
    if counts and options.errors in ("ml_ar", "prais_winsten"):
        faults.append(
            Fault(
                "its options",
                f'errors "{options.errors}" are for gaussian series',
                got=f'family "{options.family}"',
                allowed='"reml_ar" (quasipoisson, negative_binomial), "newey_west" or "model"',
            )
        )
    if options.family == "poisson" and options.errors == "reml_ar":
        faults.append(
            Fault(
                "its options",
                "Poisson counts have no room for correlated errors",
                next_step='Use family "quasipoisson", or errors "newey_west" or "model".',
            )
        )
    if options.control == "each" and options.errors in AR_ERRORS:
        faults.append(
            Fault(
                "its options",
                'control "each" goes with errors "newey_west" or "model" only',
                next_step='Use control "pooled", which gives the same effects in a balanced gaussian panel.',
            )
        )
    if options.harmonics < 0 or options.ar_order < 1 or (options.lags is not None and options.lags < 0):
        faults.append(Fault("its options", "harmonics and lags are 0 or more, ar_order 1 or more"))
    if options.ar_order != 1 and options.errors != "ml_ar":
        faults.append(Fault("its options", 'only errors "ml_ar" take an ar_order other than 1'))
    if options.harmonics and not options.periods_per_year:
        faults.append(Fault("its options", "harmonics need periods_per_year", next_step="Give 12 for months, say."))
    elif options.harmonics and 2 * options.harmonics > options.periods_per_year:
        faults.append(
            Fault(
                "its options",
                "there are more harmonics than a cycle of so few periods can show",
                got=f"{options.harmonics} harmonics of {options.periods_per_year} periods a year",
                allowed=f"at most {options.periods_per_year // 2}",
            )
        )
    if not 0 < options.level < 1:
        faults.append(Fault("its options", "level lies between 0 and 1", got=str(options.level)))
    if faults:
        raise ParameterError(faults)


def _check_panel(panel: Panel, options: ItsOptions, after: np.ndarray) -> None:
    if options.control != "none" and panel.treated.all():
        raise ParameterError(
            Fault(
                "panel",
                "a control is asked for, but every unit is treated",
                next_step='Add untreated units, or use control "none".',
            )
        )
    if options.family != "gaussian" and (panel.outcome < 0).any():
        raise ParameterError(Fault("panel", f'family "{options.family}" needs counts of 0 or more'))
    faults = [
        Fault("periods", f"too few {name} adoption", got=str(count), allowed=f"{MIN_PERIODS} or more")
        for name, count in (("wholly before", int((~after).sum())), ("after", int(after.sum())))
        if count < MIN_PERIODS
    ]
    if options.family != "gaussian":
        first = len(panel.periods) - int(after.sum())
        series = [("the treated series", panel.treated)]
        if options.control != "none":
            series.append(("the control series", ~panel.treated))
        for name, units in series:
            for side, cells in (("before", slice(None, first)), ("after", slice(first, None))):
                if panel.outcome[units, cells].sum() == 0:
                    faults.append(
                        Fault("panel", f"{name} had no event {side} adoption, so its log rate is not defined")
                    )
    if faults:
        raise NotEstimable(faults)


def _check_rows(segments: np.ndarray, rows: int, options: ItsOptions) -> None:
    """Each series must leave 3 points free (its t-distribution needs a variance), and no column follow from others."""
    k = segments.shape[1]
    if rows < k + 3 or np.linalg.matrix_rank(segments / np.abs(segments).max(axis=0)) < k:
        raise NotEstimable(
            Fault(
                "its",
                "there are too few periods for so many terms",
                got=f"{rows} periods, {k} terms, of which {options.harmonics} harmonics",
                next_step="Use fewer harmonics, or a change of level only.",
            )
        )
