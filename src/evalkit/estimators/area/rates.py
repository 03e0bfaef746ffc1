"""Effect on event rates when one area, or a few, were treated: Poisson imputation with permutation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.area.randomisation import MIN_UNITS, attained_interval

_CORRECTION = 0.5  # keeps the log ratio finite when an area had no event
_HALVINGS = 14  # an end is found to a spread over 2^14, far below the error of counts
_SWEEPS = 200
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class RateOptions:
    """Options of `estimate_rate_ratio_did`.

    `anticipation_start` opens a time before adoption that belongs to neither period (single adoption);
    `permutations` is used only where not all placements of treatment can be listed.
    """

    level: float = 0.95
    permutations: int = 999
    anticipation_start: object | None = None


@dataclass(frozen=True)
class Imputation:
    """Observed and expected events of each assignment of treatment.

    All arrays have shape (A,), A assignments: `observed` and `expected` after adoption, `before`
    observed before it. `log_ratio` and `studentised` follow from them.
    """

    observed: np.ndarray
    expected: np.ndarray
    before: np.ndarray

    @property
    def log_ratio(self) -> np.ndarray:
        return np.log((self.observed + _CORRECTION) / (self.expected + _CORRECTION))

    @property
    def studentised(self) -> np.ndarray:
        """Log ratio over its Poisson error, so that small areas do not rule the comparison."""
        return self.log_ratio / self.spread

    @property
    def spread(self) -> np.ndarray:
        return np.sqrt(1 / (self.before + _CORRECTION) + 1 / (self.expected + _CORRECTION))


def impute_untreated(
    outcome: np.ndarray, denominator: np.ndarray, *, fitted: np.ndarray, target: np.ndarray
) -> Imputation:
    """Fit E[Y_jt] = N_jt a_j b_t on `fitted` cells and sum what it expects over `target` cells.

    The Poisson likelihood with unit and period effects is solved by matching margins in turn, for
    all assignments at once (Borusyak, Jaravel and Spiess 2024, REStud 91:3253, in Poisson form:
    Wooldridge 2023, Econometrics J 26:C31).

    Parameters
    ----------
    outcome, denominator : float arrays, shape (A, J, T) or broadcastable to it
    fitted, target : bool arrays, shape (A, J, T)
        Cells that are untreated, and cells whose counterfactual is wanted.
    """
    y, n = np.where(fitted, outcome, 0.0), np.where(fitted, denominator, 0.0)
    unit_total, period_total = y.sum(axis=2), y.sum(axis=1)
    # Start from period rates pooled over units.
    b = period_total / np.maximum(n.sum(axis=1), 1e-300)
    for _ in range(_SWEEPS):
        a = unit_total / np.maximum(np.einsum("ajt,at->aj", n, b), 1e-300)
        new = period_total / np.maximum(np.einsum("ajt,aj->at", n, a), 1e-300)
        change = np.max(np.abs(new - b) / np.maximum(np.abs(b), 1e-12))
        b = new
        if change < _TOLERANCE:
            break
    expected = np.einsum("ajt,aj,at->a", np.where(target, denominator, 0.0), a, b)
    treated = target.any(axis=2, keepdims=True)
    return Imputation(
        observed=np.where(target, outcome, 0.0).sum(axis=(1, 2)),
        expected=expected,
        before=np.where(treated, y, 0.0).sum(axis=(1, 2)),
    )


def estimate_rate_ratio_did(
    panel: Panel,
    estimand: Estimand,
    *,
    options: RateOptions = RateOptions(),
    rng: np.random.Generator,
    role: Role = "primary",
) -> Estimate:
    """Rate after adoption over the rate that would have been, with an exact permutation interval.

    Identified if, without the service, rates would have moved in proportion in treated and untreated
    areas. The interval inverts the test of "every treated rate is r times what it would have been":
    for each r the treated outcomes are divided by r, treatment is given in turn to every area (or to
    random sets of areas), and r is kept while the true assignment is not among the most extreme. It
    is exact when areas are exchangeable, whatever the serial correlation; its attained level, which
    can be no finer than one over the number of assignments, is what `level` holds. `n_events` is the
    treated areas' events before or after adoption, whichever is fewer.

    Raises
    ------
    NotEstimable
        Fewer than `MIN_UNITS` areas, no event before adoption, or no period before or after it.

    Source: Conley and Taber 2011, REStat 93:113; Fisher's sharp null with a constant ratio; Abadie,
    Diamond and Hainmueller 2010, JASA 105:493 (placebos in space).
    """
    _refuse_unusable(panel, options)
    _refuse_thin_panel(panel, options)
    assignments, exact = _assignments(panel, options, rng)
    fitted, target = _masks(panel, assignments, options)

    def impute(ratio: float) -> Imputation:
        adjusted = np.where(target[0], panel.outcome / ratio, panel.outcome)
        return impute_untreated(adjusted[None], panel.denominator[None], fitted=fitted, target=target)

    def p_value(ratio: float) -> float:
        extremes = np.abs(impute(ratio).studentised)
        return float((extremes >= extremes[0] - 1e-12).mean())

    real = impute(1.0)
    _refuse_empty(real, estimand)
    observed = float(real.observed[0])
    value = observed / float(real.expected[0])
    lower, upper, attained, refusal = attained_interval(
        p_value, value, _search_step(real), len(assignments), options.level, multiplicative=True, halvings=_HALVINGS
    )
    checks = (*_checks(panel, assignments, real, exact=exact), *refusal)
    return Estimate(
        estimand,
        "poisson_did_permutation",
        role,
        value,
        lower,
        upper,
        attained,
        n_events=min(observed, float(real.before[0])),
        p_value=p_value(1.0),
        checks=checks,
        label="Poisson difference-in-differences, permutation interval",
    )


def _search_step(real: Imputation) -> float:
    """Days and pounds vary far more than events do: their ends are looked for in steps of what placebos show."""
    return float(real.spread[0]) * max(1.0, float(np.median(np.abs(real.studentised[1:]))))


def _refuse_empty(real: Imputation, estimand: Estimand) -> None:
    if real.before[0] == 0 or real.expected[0] == 0:
        raise NotEstimable(Fault(f'outcome "{estimand.outcome}"', "the treated area had no event before adoption"))
    if np.ptp(real.log_ratio[1:]) <= _TOLERANCE:
        raise NotEstimable(Fault("areas", "the untreated ones show no spread, so nothing says how large chance is"))


def estimate_placebos(panel: Panel, *, options: RateOptions, rng: np.random.Generator) -> pd.DataFrame:
    """The same analysis with each untreated area in the treated one's place: `unit, log_ratio, studentised`.

    These are the statistics that the permutation test of no effect ranks. One row a unit, the treated first.
    """
    assignments, _ = _assignments(panel, options, rng)
    if int(panel.treated.sum()) != 1:
        raise NotEstimable(Fault("placebos", "placebos by area are listed for one treated area only"))
    fitted, target = _masks(panel, assignments, options)
    placebo = impute_untreated(panel.outcome[None], panel.denominator[None], fitted=fitted, target=target)
    names = [panel.units[row.argmax()] for row in assignments != -1]
    return pd.DataFrame({"unit": names, "log_ratio": placebo.log_ratio, "studentised": placebo.studentised})


def estimate_event_study(panel: Panel, *, options: RateOptions, periods_per_step: int) -> pd.DataFrame:
    """Rate ratios by time from adoption, one treated area, in steps of whole periods.

    A step before adoption is held out of the fit and predicted from the rest, so that it tests what
    the comparison assumes. Intervals scale the largest studentised placebo of the same step, so their
    level is 1 - 1/(number of areas), whatever was asked; below `MIN_UNITS` areas none is drawn.

    Returns `step` (0 the first after adoption), `ratio, lower, upper, n_events`, whole steps only.
    """
    if len(panel.units) < MIN_UNITS:
        raise NotEstimable(Fault("event study", "too few areas for its intervals", allowed=f"{MIN_UNITS} or more"))
    treated = np.flatnonzero(panel.treated)
    if len(treated) != 1:
        raise NotEstimable(Fault("event study", "it is drawn for one treated area only"))
    first, clean = _whole_periods(panel, options)
    adopted = int(first[treated[0]])
    offset = (np.arange(len(panel.periods)) - adopted) // periods_per_step
    order = np.concatenate([treated, np.flatnonzero(~panel.treated)])
    rows = []
    for step in np.unique(offset):
        cells = offset == step
        if cells.sum() < periods_per_step:
            continue
        hidden = cells | (np.arange(len(panel.periods)) >= clean[treated[0]])
        fitted = np.ones((len(order), *panel.outcome.shape), bool)
        target = np.zeros_like(fitted)
        for place, unit in enumerate(order):
            fitted[place, unit, hidden] = False
            target[place, unit, cells] = True
            if place:
                fitted[place, treated[0]] = False
        if not fitted[0, treated[0]].any():
            continue
        found = impute_untreated(panel.outcome[None], panel.denominator[None], fitted=fitted, target=target)
        if found.expected[0] == 0:
            continue
        width = math.exp(np.abs(found.studentised[1:]).max() * found.spread[0])
        ratio = found.observed[0] / found.expected[0]
        rows.append((int(step), ratio, ratio / width, ratio * width, found.observed[0]))
    return pd.DataFrame(rows, columns=["step", "ratio", "lower", "upper", "n_events"])


def _assignments(panel: Panel, options: RateOptions, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Index of the adoption each unit is given, -1 for never; the true assignment first; shape (A, J)."""
    real = np.where(panel.treated, np.arange(len(panel.units)), -1)
    if panel.treated.sum() == 1:
        place = int(np.flatnonzero(panel.treated)[0])
        others = [j for j in range(len(panel.units)) if j != place]
        rows = np.full((len(panel.units), len(panel.units)), -1)
        rows[np.arange(len(panel.units)), [place, *others]] = place
        return rows, True
    shuffled = np.stack([rng.permutation(real) for _ in range(options.permutations)])
    return np.vstack([real[None], shuffled]), False


def _masks(panel: Panel, assignments: np.ndarray, options: RateOptions) -> tuple[np.ndarray, np.ndarray]:
    """Untreated cells to fit, and treated cells to predict, for each assignment; bool, shape (A, J, T)."""
    first, clean = _whole_periods(panel, options)
    place, given = np.arange(len(panel.periods)), assignments >= 0
    target = given[:, :, None] & (place[None, None, :] >= first[assignments][:, :, None])
    fitted = ~given[:, :, None] | (place[None, None, :] < clean[assignments][:, :, None])
    return fitted, target


def _whole_periods(panel: Panel, options: RateOptions) -> tuple[np.ndarray, np.ndarray]:
    """For each unit the first period wholly after its adoption, and how many lie wholly before it; (J,) each.

    A period in which adoption falls, or in which anticipation begins, belongs to neither.
    """
    first = np.full(len(panel.units), len(panel.periods))
    clean = first.copy()
    adoption = panel.adoption[panel.treated]
    first[panel.treated] = np.searchsorted(panel.periods, adoption)
    ahead = adoption
    if options.anticipation_start is not None:
        ahead = np.minimum(adoption, np.asarray(options.anticipation_start, adoption.dtype))
    clean[panel.treated] = np.searchsorted(panel.ends, ahead, side="right")
    return first, clean


def _refuse_unusable(panel: Panel, options: RateOptions) -> None:
    faults = []
    if not 0 < options.level < 1:
        faults.append(Fault("level", "it is no probability", got=str(options.level), allowed="above 0, below 1"))
    if (panel.outcome < 0).any():
        faults.append(Fault("panel", "its outcome is negative in places", allowed="counts of 0 or more"))
    if faults:
        raise ParameterError(faults)


def _refuse_thin_panel(panel: Panel, options: RateOptions) -> None:
    faults = []
    if len(panel.units) < MIN_UNITS:
        faults.append(
            Fault(
                "areas",
                "too few for an honest interval: the smallest p-value is one over their number",
                got=str(len(panel.units)),
                allowed=f"{MIN_UNITS} or more",
                next_step="Add areas to compare with.",
            )
        )
    first, clean = _whole_periods(panel, options)
    if not clean[panel.treated].all():
        faults.append(Fault("periods", "none lies wholly before adoption"))
    if (first[panel.treated] >= len(panel.periods)).any():
        faults.append(Fault("periods", "none lies wholly after adoption"))
    if panel.treated.all():
        faults.append(Fault("areas", "every one is treated; none is left to compare with"))
    if faults:
        raise NotEstimable(faults)


def _checks(panel: Panel, assignments: np.ndarray, real: Imputation, *, exact: bool) -> tuple[Check, ...]:
    smallest = 1 / len(assignments)
    others = np.abs(real.studentised[1:])
    rank = int((others >= abs(real.studentised[0])).sum()) + 1
    how = "every area in turn" if exact else "random sets of areas"
    return (
        Check(
            "smallest_p",
            None,
            smallest,
            f"Treatment was given to {how}; the smallest p-value that can come out is {smallest:.3f}.",
        ),
        Check(
            "comparison_areas",
            len(panel.units) - int(panel.treated.sum()) >= 19,
            float((~panel.treated).sum()),
            "Number of untreated areas; 19 or more allow a 95% interval.",
        ),
        Check(
            "rank",
            None,
            rank,
            f"The treated area ranks {rank} of {len(assignments)} by size of change, 1 being the largest.",
        ),
        *_weights_check(panel),
    )


def _weights_check(panel: Panel) -> tuple[Check, ...]:
    """Counts weigh by their person-time; further weights are not used, and that is said."""
    if np.all(panel.weights == panel.weights.flat[0]):
        return ()
    return (Check("weights", False, math.nan, "The panel's weights are not used: counts weigh by their person-time."),)
