"""What every staggered design shares: options, cohorts and their timing, effects by cohort and period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.result import Check
from evalkit.estimators.area.cohort_errors import Errors, derive_nothing
from evalkit.estimators.area.group_time_cells import Adjustment

Method = Literal["callaway_santanna", "sun_abraham", "imputation"]
Controls = Literal["never_treated", "not_yet_treated"]
Base = Literal["universal", "varying"]
Aggregation = Literal["simple", "dynamic", "group", "calendar"]

UNREAD: dict[Method, tuple[str, ...]] = {
    "callaway_santanna": (),
    "sun_abraham": ("controls", "base", "adjustment", "covariates"),
    "imputation": ("controls", "base", "adjustment"),
}
SMALL_COHORT = 5  # beside the number of covariates; what `did` warns of
_NEVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class StaggeredOptions:
    """Options of `estimate_staggered` and of what it is made of.

    `controls`, `base`, `adjustment` and `covariates` are for Callaway-Sant'Anna; imputation reads
    `covariates` as regressors that change over time. What a method does not read must be left alone.
    `anticipation` is how many periods before adoption may already bear its mark. `base`: effects before
    adoption are all against the last period before it ("universal"; what sensitivity bounds need) or
    each against the period before ("varying"). `errors`: "analytic" as published programs, or
    "small_sample", which holds with small cohorts too. `draws` are those of the multiplier bootstrap
    behind uniform bands.
    """

    method: Method = "callaway_santanna"
    controls: Controls = "never_treated"
    base: Base = "universal"
    adjustment: Adjustment = "doubly_robust"
    covariates: tuple[str, ...] = ()
    anticipation: int = 0
    aggregation: Aggregation = "simple"
    errors: Errors = "small_sample"
    level: float = 0.95
    draws: int = 999


@dataclass(frozen=True)
class Timing:
    """Places of periods that matter to each unit; J units, G cohorts with a period to be studied.

    Attributes
    ----------
    first : int array, shape (J,)
        Place of the first period wholly after adoption; far beyond the panel for never. For a unit that
        adopts within the last period, and so is in no cohort, `ahead` after its last untreated period.
    cohorts : int array, shape (G,)
        The distinct `first` within the panel, in order.
    cohort : int array, shape (J,)
        Which of `cohorts` a unit belongs to; -1 for none.
    ahead : int
        Periods before `first` that may bear a mark of it: anticipation, and 1 more where adoption of
        a unit in a cohort falls within a period.
    """

    first: np.ndarray
    cohorts: np.ndarray
    cohort: np.ndarray
    ahead: int

    @property
    def sizes(self) -> np.ndarray:
        """Units of each cohort, shape (G,)."""
        return np.bincount(self.cohort[self.cohort >= 0], minlength=len(self.cohorts))


@dataclass(frozen=True)
class GroupTimeEffects:
    """Effects by cohort and period; C cells, J units.

    Attributes
    ----------
    method : how they were estimated
    group, period : arrays of the kind of `panel.periods`, shape (C,)
        First treated period of the cohort, and the period of the effect.
    step : int array, shape (C,)
        Periods since adoption; 0 is the first treated one.
    value, se : float arrays, shape (C,)
        NaN where a cell cannot be estimated; `se` is also NaN at a universal base period, where the
        effect is 0 by construction.
    influence : float array, shape (J, C)
        `se` is the root of `factor` times the sum of its squares, over J.
    n_group : int array, shape (C,)
        Units of the cohort.
    base : array of the kind of `panel.periods`, shape (C,)
        Period that the effect is measured against.
    cell_cohort : int array, shape (C,), and unit_cohort : int array, shape (J,)
        Cohort numbers that tie cells to units; -1 for a unit in none.
    unit_weights : float array, shape (J,)
        Weights that cohorts are counted with.
    ahead : int
        Periods before adoption that may bear a mark of it and are left out.
    shares_estimated : bool
        Whether averages over cohorts count the estimation of their sizes in their errors.
    nothing : float
        Errors up to it are rounding, and are not given.
    factor, freedom : float
        Small-sample factor of variances, and degrees of freedom of intervals (infinite for normal).
    pretest, pretest_p : float
        Wald statistic of all effects before adoption (and anticipation) being 0, and its p-value.
    """

    method: Method
    group: np.ndarray
    period: np.ndarray
    step: np.ndarray
    value: np.ndarray
    se: np.ndarray
    influence: np.ndarray
    n_group: np.ndarray
    base: np.ndarray
    cell_cohort: np.ndarray
    unit_cohort: np.ndarray
    unit_weights: np.ndarray
    ahead: int
    shares_estimated: bool
    nothing: float
    factor: float
    freedom: float
    pretest: float
    pretest_p: float
    checks: tuple[Check, ...]


def name_period(period: object) -> str:
    """A period in words: dates without time of day, whole numbers without decimals."""
    if isinstance(period, np.datetime64):
        return str(period.astype("datetime64[D]"))
    return f"{period:g}"


def derive_timing(panel: Panel, options: StaggeredOptions) -> Timing:
    """Cohorts by first wholly treated period; every fault of the design at once."""
    plain = StaggeredOptions()
    faults = [
        Fault(
            "options",
            f'method="{options.method}" does not read "{name}"',
            got=str(getattr(options, name)),
            next_step=f"Leave it at {getattr(plain, name)!r}.",
        )
        for name in UNREAD[options.method]
        if getattr(options, name) != getattr(plain, name)
    ]
    if options.anticipation < 0:
        faults.append(
            Fault("anticipation", "it is a number of periods", got=str(options.anticipation), allowed="0, 1, 2 ...")
        )
    if not 0 < options.level < 1:
        faults.append(Fault("level", "it is a probability", got=str(options.level), allowed="above 0, below 1"))
    if options.draws < 1:
        faults.append(Fault("draws", "there must be some", str(options.draws), "1 or more"))
    faults += [
        Fault("covariates", f'the panel has none called "{name}"', next_step=suggest_name(name, panel.covariate_names))
        for name in options.covariates
        if name not in panel.covariate_names
    ]
    if not panel.consecutive:
        what = "its periods leave gaps, so time from adoption has no meaning"
        step = "Keep all periods, and use anticipation for those that adoption may have touched."
        faults.append(Fault("panel", what, next_step=step))
    treated, last = panel.treated, len(panel.periods)
    first = np.full(len(panel.units), _NEVER)
    first[treated] = np.searchsorted(panel.periods, panel.adoption[treated])
    clean = np.searchsorted(panel.ends, panel.adoption[treated], side="right")
    studied = first < last
    cohorts = np.unique(first[studied])
    ahead = options.anticipation + int((first[treated] - clean)[studied[treated]].max(initial=0))
    if not len(cohorts):
        faults.append(Fault("panel", "no unit has a period wholly after its adoption"))
    faults += [
        Fault(
            "panel",
            f"the cohort of {name_period(panel.periods[g])} has no period before its adoption"
            + (" and anticipation" if ahead else ""),
            got=f"{(first == g).sum()} units",
            next_step="Leave these units out, begin the panel earlier, or allow less anticipation.",
        )
        for g in cohorts
        if g - 1 - ahead < 0
    ]
    if faults:
        raise ParameterError(faults)
    cohort = np.where(studied, np.searchsorted(cohorts, first), -1)
    # Units that are not studied cost the others no period, and stand as untreated no longer than they are.
    first[treated & ~studied] = clean[~studied[treated]] - options.anticipation + ahead
    return Timing(first, cohorts, cohort, ahead)


def build_effects(
    panel: Panel,
    timing: Timing,
    cells: np.ndarray,
    value: np.ndarray,
    influence: np.ndarray,
    *,
    options: StaggeredOptions,
    checks: tuple[Check, ...],
    coefficients: int | None = None,
) -> GroupTimeEffects:
    """Effects with their errors and a test of those before adoption.

    `cells` (C, 3) holds cohort number, place and base place; `influence` is (C, J). With `coefficients`
    variances take the factor G/(G-1) (N-1)/(N-K) of a regression of that many, and intervals t(G-1).
    """
    cohort, place, base = cells.T
    units, freedom, factor = len(panel.units), np.inf, 1.0
    if coefficients is not None:
        observations = panel.values.size
        freedom, factor = units - 1, units / (units - 1) * (observations - 1) / (observations - coefficients)
    influence[np.isnan(value)] = np.nan
    se = np.sqrt(factor * np.einsum("cj,cj->c", influence, influence)) / units
    nothing = derive_nothing(panel.values)
    se[se <= nothing] = np.nan
    before = (place < timing.cohorts[cohort] - timing.ahead) & ~np.isnan(se)
    statistic, p, pretest = _pretest(value[before], factor * influence[before] @ influence[before].T / units**2)
    return GroupTimeEffects(
        method=options.method,
        group=panel.periods[timing.cohorts[cohort]],
        period=panel.periods[place],
        step=place - timing.cohorts[cohort],
        value=value,
        se=se,
        influence=influence.T,
        n_group=timing.sizes[cohort],
        base=panel.periods[base],
        cell_cohort=cohort,
        unit_cohort=timing.cohort,
        unit_weights=panel.weights[:, 0],
        ahead=timing.ahead,
        shares_estimated=options.method == "callaway_santanna",
        nothing=nothing,
        factor=factor,
        freedom=freedom,
        pretest=statistic,
        pretest_p=p,
        checks=(*checks, *_design_checks(panel, timing, cells, options), pretest),
    )


def _pretest(value: np.ndarray, covariance: np.ndarray) -> tuple[float, float, Check]:
    """Wald test that nothing happened before adoption; NaN where there are no effects or too many to test at once."""
    nan = float("nan")
    if not len(value):
        text = "No effect before adoption was estimated, so no trend before it is tested."
        return nan, nan, Check("pretest", None, nan, text)
    spread = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(spread, spread)
    sizes = np.linalg.eigvalsh(correlation)
    if sizes[0] < 1e-10 * sizes[-1]:
        text = f"The {len(value)} effects before adoption are too many to be tested at once."
        return nan, nan, Check("pretest", None, nan, text)
    statistic = float(value / spread @ np.linalg.solve(correlation, value / spread))
    p = float(stats.chi2.sf(statistic, len(value)))
    text = f"Joint test that all {len(value)} effects before adoption are nought: p = {p:.3f}."
    return statistic, p, Check("pretest", p >= 0.05, p, text)


def _design_checks(panel: Panel, timing: Timing, cells: np.ndarray, options: StaggeredOptions) -> tuple[Check, ...]:
    studied = np.unique(cells[:, 0])
    least = SMALL_COHORT + len(options.covariates)
    small = [
        f"{name_period(panel.periods[timing.cohorts[k]])} ({timing.sizes[k]})"
        for k in studied
        if timing.sizes[k] < least
    ]
    text = f"Cohorts of fewer than {least} units, whose own errors cannot be relied on: {', '.join(small) or 'none'}."
    checks = [Check("small_cohorts", not small, float(timing.sizes[studied].min()), text)]
    if timing.ahead > options.anticipation:
        text = "Adoption falls within a period, so one more period before the first whole one counts as anticipation."
        checks.append(Check("adoption_within_period", None, 1.0, text))
    late = int((panel.treated & (timing.cohort < 0)).sum())
    if late:
        text = f"{late} units adopt within the last period, so no effect on them is studied."
        checks.append(Check("not_studied", None, float(late), text))
    return tuple(checks)
