"""What an interrupted time series says of itself: when its interval holds, and the checks beside every number."""

from __future__ import annotations

import math

from evalkit.cohort.panel import Panel
from evalkit.core.result import Check
from evalkit.estimators.area.its_design import ItsDesign, ItsOptions
from evalkit.estimators.area.its_errors import ErrorFit, autocorrelations, ljung_box, series_gaps

# Points of a series from which a nominal 95% interval covers at least 90% for every rho from 0 to 0.8. Newey–West
# and errors as if independent did not at any length tried, to 400.
HOLDS_FROM = {"ml_ar": 400, "prais_winsten": 400, "newey_west": math.inf, "model": math.inf}
REML_HOLDS_FROM = {"level": 6, "level_and_slope": 20}
MIN_FREE_WITH_HARMONICS = 10  # points less terms, below which seasonal terms leave too little to judge error by

# Percent that it covers at worst, over rho from 0 to 0.8 and all effects, by points: 400 to 2,000 gaussian series
# each, Monte-Carlo error 2 points or less.
WORST_COVERAGE = {
    "reml_ar": {8: 85, 12: 88, 16: 86, 20: 92, 25: 92, 59: 95},
    "ml_ar": {25: 58, 59: 77, 100: 83, 200: 88},
    "prais_winsten": {25: 65, 59: 79, 100: 84, 200: 88},
    "newey_west": {25: 51, 59: 57, 100: 65, 200: 71, 400: 76},
    "model": {25: 50, 59: 48, 100: 47, 200: 49, 400: 49},
}
EVENTS_FOR_LOG = 5  # mean events a period down to which the coverage of counts was measured
_LAGS = 4


def interval_check(options: ItsOptions, design: ItsDesign) -> Check | None:
    """A failed check where the interval is refused; None where it stands."""
    points = len(design.periods)
    if options.control == "each":
        return Check(
            "interval",
            False,
            math.nan,
            "No interval is given: lasting differences between controls count as error of the treated series. "
            'Use control "pooled" with errors "reml_ar".',
        )
    default = options.errors == "reml_ar"
    needed = REML_HOLDS_FROM[options.slope] if default else HOLDS_FROM[options.errors]
    free = points - design.x.shape[1] * points // len(design.x)  # terms of one series
    crowded = default and options.harmonics > 0 and free < MIN_FREE_WITH_HARMONICS
    if points >= needed and not crowded:
        return None
    if crowded:
        return Check(
            "interval",
            False,
            math.nan,
            f"No interval is given: the seasonal terms leave {free} points free, and below {MIN_FREE_WITH_HARMONICS} "
            "a 95% interval was measured to cover less than 90%. Use fewer harmonics.",
        )
    measured = WORST_COVERAGE[options.errors]
    near = max((n for n in measured if n <= points), default=min(measured))
    instead = (
        "Use more or shorter periods, or a change of level only."
        if default
        else 'Use errors "reml_ar"' + ("." if options.family != "poisson" else ' with family "quasipoisson".')
    )
    return Check(
        "interval",
        False,
        measured[near] / 100,
        f"No interval is given: the series has {points} points, and with {near} a 95% interval of these errors was "
        f"measured to cover as little as {measured[near]}% of gaussian series with neighbours correlated by 0 to 0.8. "
        f"{instead}",
    )


def check_fit(panel: Panel, options: ItsOptions, design: ItsDesign, errors: ErrorFit) -> tuple[Check, ...]:
    """Every check of one fit, the refusal of the interval among them."""
    refusal = interval_check(options, design)
    return (
        *((refusal,) if refusal else ()),
        _concurrent_change(options),
        *_autocorrelation(options, design, errors),
        *_convergence(options, errors),
        *_rows(panel, design),
        *_dispersion(options, design, errors),
    )


def _concurrent_change(options: ItsOptions) -> Check:
    if options.control == "none":
        return Check(
            "concurrent_change",
            False,
            math.nan,
            "There is no control: whatever else changed at the same time cannot be told from the service.",
        )
    return Check(
        "concurrent_change",
        None,
        math.nan,
        "Rests on treated and control being alike in whatever else changed at the time of adoption.",
    )


def _autocorrelation(options: ItsOptions, design: ItsDesign, errors: ErrorFit) -> tuple[Check, ...]:
    """Lag 1, and Ljung–Box over a few lags, of residuals with the fitted correlation taken out."""
    gap = series_gaps(design.series, design.time)
    lags = min(_LAGS, len(design.periods) // 4)
    found = autocorrelations(errors.innovations, gap, lags)
    estimated = len(errors.rho)
    p_value = ljung_box(found, len(design.x), estimated) if lags > estimated else math.nan
    left = "after the fitted correlation is taken out" if estimated else "with none modelled"
    checks = [
        Check(
            "residual_autocorrelation",
            None,
            float(found[0]),
            f"Correlation of neighbouring residuals, {left}.",
        )
    ]
    if not math.isnan(p_value):
        checks.append(
            Check(
                "ljung_box",
                p_value > 0.05,
                p_value,
                f"p-value of no correlation among residuals up to {lags} periods apart, {left}.",
            )
        )
    if estimated:
        checks.append(Check("rho", None, float(errors.rho[0]), "Estimated correlation of one period with the next."))
    if options.centring == "first_period":
        checks.append(
            Check(
                "centring",
                False,
                math.nan,
                "The slope change counts from the first period, so the level change is an extrapolation to the "
                "period before it, not the change at adoption.",
            )
        )
    return tuple(checks)


def _convergence(options: ItsOptions, errors: ErrorFit) -> tuple[Check, ...]:
    if errors.converged:
        return ()
    why = (
        "The likelihood is highest where correlation is nearly 1: the series may have no level to return to."
        if options.errors == "reml_ar"
        else "The iterations did not settle; the numbers are where they stopped."
    )
    return (Check("convergence", False, math.nan, why),)


def _rows(panel: Panel, design: ItsDesign) -> tuple[Check, ...]:
    checks = []
    missing = int(design.time[design.treated][-1]) + 1 - len(design.periods)
    if missing:
        checks.append(
            Check(
                "periods_left_out",
                None,
                float(missing),
                f"{missing} periods are left out, such as a time of anticipation or one in which adoption falls; "
                "time counts on across them.",
            )
        )
    if panel.covariates.shape[2]:
        checks.append(Check("covariates", False, math.nan, "The panel's covariates are not used."))
    if not (panel.weights == 1).all():
        checks.append(Check("weights", False, math.nan, "The panel's weights are not used."))
    if int(panel.treated.sum()) > 1:
        checks.append(
            Check(
                "treated_units",
                None,
                float(panel.treated.sum()),
                "Treated units are added up to one series.",
            )
        )
    return tuple(checks)


def _dispersion(options: ItsOptions, design: ItsDesign, errors: ErrorFit) -> tuple[Check, ...]:
    if options.family == "gaussian":
        return ()
    fewest = float(design.outcome.mean())
    return (
        Check(
            "dispersion",
            errors.dispersion < 1.5 if options.family == "poisson" else None,
            errors.dispersion,
            "Pearson dispersion; well above 1, Poisson errors are too small.",
        ),
        Check(
            "events_per_period",
            fewest >= EVENTS_FOR_LOG,
            fewest,
            f"Mean events in a period; intervals were tried down to {EVENTS_FOR_LOG}.",
        ),
    )
