"""How often an estimator finds an effect on the user's own panel where nothing happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check, Estimate
from evalkit.estimators.area.contrasts import shared_start

Estimator = Callable[[Panel], Estimate]


@dataclass(frozen=True)
class PlaceboSizeOptions:
    """Options of `measure_placebo_size`.

    `dates` placebo dates are used, the real one and others spread evenly over what leaves `min_before`
    and `min_after` periods; at most `placebos` pairs of units and date, drawn at random if there are more.
    """

    level: float = 0.95
    dates: int = 3
    min_before: int = 4
    min_after: int = 4
    placebos: int = 200


@dataclass(frozen=True)
class PlaceboSize:
    """Rejections of no effect among placebos, where a nominal share of `nominal` should be.

    Attributes
    ----------
    nominal, rate, lower, upper : float
        The share that should be rejected, the share that was, and its exact binomial interval (Clopper and
        Pearson 1934, Biometrika 26:404) at 95%, as if placebos were independent, which they are not.
    placebos, rejections, refusals : int
        Placebos that gave a test, those of them that rejected, and those that were refused one.
    by_date : DataFrame
        `adoption, real, placebos, rejections, refusals`: one row a date.
    reasons : tuple of str
        Why placebos were refused, each reason once.
    """

    nominal: float
    placebos: int
    rejections: int
    refusals: int
    rate: float
    lower: float
    upper: float
    by_date: pd.DataFrame
    reasons: tuple[str, ...]
    text: str

    @property
    def check(self) -> Check:
        """Failed where even the lower end of the interval lies above the nominal share; None without a test."""
        passed = None if self.placebos == 0 else bool(self.lower <= self.nominal)
        return Check("placebo_size", passed, self.rate, self.text)


def measure_placebo_size(
    panel: Panel,
    estimator: Estimator,
    *,
    rng: np.random.Generator,
    options: PlaceboSizeOptions = PlaceboSizeOptions(),
) -> PlaceboSize:
    """How often `estimator` rejects no effect when untreated units are taken for treated.

    Really treated units are left out. Every untreated unit (or, where several were treated, as many
    drawn at random) takes their place, at the real date and at others. A placebo rejects if its p-value is
    1 - level or less, or, where it has none, if its interval leaves out the null value; it is refused if
    NotEstimable is raised or the estimate has neither. Placebos share comparators and periods, so the
    interval of the rate is too narrow: it is a warning, not a measurement.

    `estimator` is any estimator of the package with all but the panel given, such as
    `lambda p: estimate_did(p, estimand)`; its own level should be that of `options`.

    Raises
    ------
    ParameterError
        Options that leave nothing to do, or no random generator.
    NotEstimable
        Adoption at different times, too few untreated units, or no date with enough periods on each side.
    """
    first = _refuse(panel, options, rng)
    untreated = np.flatnonzero(~panel.treated)
    quiet = panel.only(tuple(panel.units[untreated]))
    dates = _placebo_dates(len(panel.periods), first, options)
    sets = _placebo_sets(len(untreated), int(panel.treated.sum()), options.placebos, rng)
    pairs = [(date, chosen) for date in dates for chosen in sets]
    if len(pairs) > options.placebos:
        pairs = [pairs[i] for i in np.sort(rng.choice(len(pairs), options.placebos, replace=False))]
    real = panel.adoption[panel.treated][0]  # may lie within a period, which designs may treat apart
    rows, reasons = [], []
    for date, chosen in pairs:
        when = real if date == first else panel.periods[date]
        rejected, reason = _try_placebo(quiet, estimator, chosen, when, options.level)
        rows.append((when, date == first, rejected is not None, bool(rejected), rejected is None))
        reasons += [reason] if reason else []
    columns = ["adoption", "real", "placebos", "rejections", "refusals"]
    by_date = pd.DataFrame(rows, columns=columns).groupby(["adoption", "real"], as_index=False).sum()
    return _summarise(by_date, 1 - options.level, tuple(dict.fromkeys(reasons)))


def give_treatment(panel: Panel, units: np.ndarray, when: object) -> Panel:
    """The same outcomes with only these places (J,) treated, from `when`."""
    never = np.datetime64("NaT") if panel.periods.dtype.kind == "M" else np.nan
    adoption = np.full(len(panel.units), never, dtype=panel.adoption.dtype)
    adoption[units] = when
    return replace(panel, adoption=adoption)


def is_rejected(found: Estimate, level: float) -> bool | None:
    """Whether an estimate rejects no effect at `level`; None where it gives no test."""
    if found.status != "shown":
        return None
    if math.isfinite(found.p_value):
        return found.p_value <= 1 - level + 1e-12
    if math.isnan(found.lower) or math.isnan(found.upper):
        return None
    return not found.lower <= found.estimand.null_value <= found.upper


def _try_placebo(
    quiet: Panel, estimator: Estimator, chosen: np.ndarray, when: object, level: float
) -> tuple[bool | None, str]:
    try:
        found = estimator(give_treatment(quiet, chosen, when))
    except NotEstimable as error:
        return None, error.reason
    rejected = is_rejected(found, level)
    if rejected is not None:
        return rejected, ""
    failed = [c.text for c in found.checks if c.passed is False and c.name == "interval"]
    return None, found.reason or " ".join(failed) or "it gave neither p-value nor interval"


def _placebo_dates(periods: int, first: int, options: PlaceboSizeOptions) -> list[int]:
    """Places of the placebo dates: the real one, and others evenly over those that leave enough periods."""
    possible = np.arange(options.min_before, periods - options.min_after + 1)
    others = possible[possible != first]
    wanted = min(options.dates - 1, len(others))
    spread = others[np.unique(np.linspace(0, len(others) - 1, wanted).round().astype(int))] if wanted > 0 else []
    return sorted({*(int(p) for p in spread), *([first] if first in possible else [])})


def _placebo_sets(untreated: int, treated: int, placebos: int, rng: np.random.Generator) -> list[np.ndarray]:
    if treated == 1:
        return [np.array([j]) for j in range(untreated)]
    drawn = (tuple(np.sort(rng.choice(untreated, treated, replace=False)).tolist()) for _ in range(placebos))
    return [np.array(s) for s in dict.fromkeys(drawn)]


def _refuse(panel: Panel, options: PlaceboSizeOptions, rng: object) -> int:
    smallest = {"dates": 1, "min_before": 1, "min_after": 1, "placebos": 1}
    faults = [
        Fault("options", f"{name} is too small", str(getattr(options, name)), f"{least} or more")
        for name, least in smallest.items()
        if getattr(options, name) < least
    ]
    if not 0 < options.level < 1:
        faults.append(Fault("options", "level is no probability", str(options.level), "between 0 and 1"))
    if not isinstance(rng, np.random.Generator):
        what = "placebos may have to be drawn, which needs a random generator"
        faults.append(Fault("rng", what, type(rng).__name__, next_step="Give rng=np.random.default_rng(seed)."))
    if faults:
        raise ParameterError(faults)
    first = shared_start(panel.adoption, panel.periods)
    needs = []
    treated, untreated = int(panel.treated.sum()), int((~panel.treated).sum())
    if untreated <= treated:
        needs.append(
            Fault("areas", "too few untreated ones to stand in for the treated", str(untreated), f"over {treated}")
        )
    if len(panel.periods) < options.min_before + options.min_after:
        needs.append(
            Fault(
                "periods",
                "too few for a placebo date",
                got=str(len(panel.periods)),
                allowed=f"{options.min_before + options.min_after} or more",
            )
        )
    if needs:
        raise NotEstimable(needs)
    return first


def _summarise(by_date: pd.DataFrame, nominal: float, reasons: tuple[str, ...]) -> PlaceboSize:
    count, rejections, refusals = (int(by_date[c].sum()) for c in ("placebos", "rejections", "refusals"))
    if count == 0:
        text = f"All {refusals} placebos were refused: {reasons[0] if reasons else 'no reason was given'}"
        nan = math.nan
        return PlaceboSize(nominal, 0, 0, refusals, nan, nan, nan, by_date, reasons, text)
    lower = float(stats.beta.ppf(0.025, rejections, count - rejections + 1)) if rejections else 0.0
    upper = float(stats.beta.ppf(0.975, rejections + 1, count - rejections)) if rejections < count else 1.0
    rate = rejections / count
    text = (
        f"Where nothing happened, this estimator found an effect in {rejections} of {count} placebos "
        f"({rate:.0%}; 95% interval {lower:.0%} to {upper:.0%}, too narrow as placebos share areas and periods); "
        f"it should in {nominal:.0%}. {refusals} placebos were refused."
    )
    return PlaceboSize(nominal, count, rejections, refusals, rate, lower, upper, by_date, reasons, text)
