"""Statistical process control: XmR charts with the rules of NHS England's "Making Data Count"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.core.errors import Fault, NotEstimable, ParameterError

LIMIT = 2.66  # 3 / 1.128: three standard deviations, estimated by moving ranges of two
RANGE_LIMIT = 3.27
MIN_BASELINE = 3
RELIABLE_BASELINE = 12
_ROUNDING = 1e-12  # of the largest value: what lies nearer counts as equal, since 0.1 is not its own mean

Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class XmrOptions:
    """Lengths of the rules.

    `shift`: points in a row on one side of the mean. `trend`: points in a row that rise, or fall, throughout.
    The R package NHSRplotthedots has 7 for both, and takes the direction of a trend's points from their side
    of the mean; here a trend that meets no rule of level takes its own.
    """

    shift: int = 7
    trend: int = 6


@dataclass(frozen=True)
class Xmr:
    """An XmR chart in numbers; every array has shape (T,).

    Attributes
    ----------
    value : float array
    mean, lower, upper : float arrays
        Centre line and natural process limits, which change only where the chart was rebased.
    moving_range, moving_range_upper : float arrays
        Distance from the point before (NaN for the first of a baseline), and its limit.
    outside, shift, trend, two_of_three : bool arrays
        Points that make each rule true: beyond a limit; part of a shift; part of a trend; in the outer
        third, as two of three neighbours on one side.
    high, low : bool arrays
        Points of a rule with the direction of its signal; a trend upwards is high.
    point : tuple of str
        "improvement", "concern", "high", "low" (where neither is better) or "common cause".
    variation : str
        The word for the last point: what the icon of variation shows.
    assurance : str
        "consistently meets target", "consistently misses target", "hit or miss", or "" without a target.
    baseline : int
        Points that the (last) limits were computed from.
    notes : tuple of str
        What a reader must know, such as a short baseline.
    """

    value: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    moving_range: np.ndarray
    moving_range_upper: np.ndarray
    outside: np.ndarray
    shift: np.ndarray
    trend: np.ndarray
    two_of_three: np.ndarray
    high: np.ndarray
    low: np.ndarray
    point: tuple[str, ...]
    variation: str
    assurance: str
    baseline: int
    notes: tuple[str, ...]

    @property
    def special(self) -> np.ndarray:
        """Points of special cause, bool, shape (T,)."""
        return self.outside | self.shift | self.trend | self.two_of_three


def compute_xmr(
    values: np.ndarray,
    *,
    baseline: int | slice,
    better: Better,
    target: float | None = None,
    rebase_at: int | None = None,
    options: XmrOptions = XmrOptions(),
) -> Xmr:
    """Mean, natural process limits and special causes of a series, limits fixed to a baseline.

    mean ± 2.66 times the average moving range, both of the baseline; upper limit of moving ranges 3.27 times
    their average. Outlying moving ranges are not screened out, as in the spreadsheets of "Making Data Count"
    (NHS England 2019, Making Data Count: Strengthening your decisions; Wheeler 2000, Understanding Variation,
    2nd ed., p. 60 and 137). A run does not cross the place of rebasing; a point on the mean ends a shift.

    Parameters
    ----------
    values : float array, shape (T,), in order of time, in units of the outcome
    baseline : the points that fix the limits: the first so many, or a slice; those before adoption
    better : which direction is an improvement
    target : level aimed at, for the word of assurance
    rebase_at : place of a point from which mean and limits are computed anew, from it to the end; only
        where the process is known to have changed, and never to make a signal go away
    options : lengths of the rules

    Where all points of a baseline are alike the limits are the mean itself, and a note says so.

    Raises ParameterError for values that are not finite numbers, a baseline or place of rebasing that is no
    whole number or lies outside the series, and unusable rules; NotEstimable for a baseline of fewer than 3 points.
    """
    values = _read_numbers(values)
    first = _baseline_places(values, baseline, better=better, target=target, rebase_at=rebase_at, options=options)
    pieces = _pieces(len(values), rebase_at)
    mean, spread, moving = _lines(values, first, pieces)
    lower, upper = mean - LIMIT * spread, mean + LIMIT * spread
    flags = [_rules(values[p], mean[p], LIMIT * spread[p], options) for p in pieces]
    outside, shift, trend, two, high, low = (np.concatenate(parts) for parts in zip(*flags, strict=True))
    words = tuple(_word(int(up) - int(down), better) for up, down in zip(high, low, strict=True))
    used = len(first) if rebase_at is None else len(values) - rebase_at
    return Xmr(
        value=values,
        mean=mean,
        lower=lower,
        upper=upper,
        moving_range=moving,
        moving_range_upper=RANGE_LIMIT * spread,
        outside=outside,
        shift=shift,
        trend=trend,
        two_of_three=two,
        high=high,
        low=low,
        point=words,
        variation=words[-1],
        assurance=_assurance(float(lower[-1]), float(upper[-1]), target, better),
        baseline=used,
        notes=_notes(used, rebase_at, flat=bool((spread == 0).any())),
    )


def _pieces(length: int, rebase_at: int | None) -> list[slice]:
    """Stretches of one baseline each."""
    return [slice(0, length)] if rebase_at is None else [slice(0, rebase_at), slice(rebase_at, length)]


def _lines(values: np.ndarray, first: np.ndarray, pieces: list[slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, average moving range and moving ranges, (T,) each; `first` are the places that fix the first piece."""
    mean, spread, moving = np.empty_like(values), np.empty_like(values), np.full_like(values, np.nan)
    for piece in pieces:
        fixed = values[first] if piece.start == 0 else values[piece]
        step = float(np.abs(np.diff(fixed)).mean())
        flat = step <= _ROUNDING * float(np.abs(values).max())
        # The mean of equal numbers may be off by rounding, their median is not.
        mean[piece], spread[piece] = (np.median(fixed), 0.0) if flat else (fixed.mean(), step)
        moving[piece.start + 1 : piece.stop] = np.abs(np.diff(values[piece]))
    return mean, spread, moving


def _read_numbers(values: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError(Fault("chart", "its values must be one series of finite numbers")) from None


def _is_whole(number: object) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def _baseline_places(
    values: np.ndarray,
    baseline: int | slice,
    *,
    better: Better,
    target: float | None,
    rebase_at: int | None,
    options: XmrOptions,
) -> np.ndarray:
    faults = []
    if values.ndim != 1 or not np.isfinite(values).all():
        faults.append(Fault("chart", "its values must be one series of finite numbers", got=f"shape {values.shape}"))
    if better not in ("lower", "higher", "neither"):
        faults.append(Fault("chart", "better is not known", got=str(better), allowed="lower, higher, neither"))
    if target is not None and not np.isfinite(target):
        faults.append(Fault("chart", "the target is not a finite number", got=str(target)))
    if options.shift < 2 or options.trend < 3:
        faults.append(Fault("chart", "a shift has 2 points or more, a trend 3 or more"))
    if isinstance(baseline, slice):
        places = np.arange(values.size)[baseline]
        if len(places) and (np.diff(places) != 1).any():
            faults.append(Fault("chart", "the baseline must be neighbouring points in order"))
    elif not _is_whole(baseline):
        places = np.arange(0)
        faults.append(Fault("chart", "the baseline is no whole number of points, nor a slice", got=str(baseline)))
    else:
        places = np.arange(max(baseline, 0))
        if baseline > values.size:
            faults.append(Fault("chart", "the baseline is longer than the series", got=f"{baseline} of {values.size}"))
    if rebase_at is not None and not (_is_whole(rebase_at) and 0 < rebase_at < values.size):
        faults.append(Fault("chart", "rebase_at is no place within the series", got=str(rebase_at)))
    elif rebase_at is not None and len(places) and places[-1] >= rebase_at:
        faults.append(Fault("chart", "the baseline reaches beyond the place of rebasing"))
    if faults:
        raise ParameterError(faults)
    short = [len(places)] if rebase_at is None else [len(places), values.size - rebase_at]
    if min(short) < MIN_BASELINE:
        raise NotEstimable(
            Fault("chart", "too few points to set limits by", got=str(min(short)), allowed=f"{MIN_BASELINE} or more")
        )
    return places


def _rules(values: np.ndarray, mean: np.ndarray, width: np.ndarray, options: XmrOptions) -> tuple[np.ndarray, ...]:
    """The four rules and the direction of their signals, bool, shape (T,) each, for points of one baseline."""
    near = _ROUNDING * float(np.abs(values).max())
    away = values - mean
    away = np.where(np.abs(away) <= near, 0.0, away)
    side = np.sign(away)
    outside = np.abs(away) > width
    shift = _runs(side, options.shift)
    change = np.diff(values)
    change = np.where(np.abs(change) <= near, 0.0, np.sign(change))
    rising = _widened(_runs(np.where(change > 0, 1.0, 0.0), options.trend - 1))
    falling = _widened(_runs(np.where(change < 0, 1.0, 0.0), options.trend - 1))
    close = ~outside & (np.abs(away) > 2 / 3 * width)
    two = np.zeros(len(values), bool)
    for start in range(len(values) - 2):
        three = slice(start, start + 3)
        if close[three].sum() >= 2 and abs(side[three].sum()) == 3:
            two[three] |= close[three]
    off = outside | shift | two
    # Where a trend meets a rule of level, the level decides.
    high = (off & (side > 0)) | (rising & ~off)
    low = (off & (side < 0)) | (falling & ~off)
    return outside, shift, rising | falling, two, high, low


def _runs(signs: np.ndarray, length: int) -> np.ndarray:
    """Points in runs of one sign, not 0, of at least `length`; bool, shape of `signs`."""
    found = np.zeros(len(signs), bool)
    begin = 0
    for end in range(1, len(signs) + 1):
        if end == len(signs) or signs[end] != signs[begin]:
            found[begin:end] = signs[begin] != 0 and end - begin >= length
            begin = end
    return found


def _widened(steps: np.ndarray) -> np.ndarray:
    """Points at either end of steps, shape (T,) from (T - 1,)."""
    points = np.zeros(len(steps) + 1, bool)
    points[1:] |= steps
    points[:-1] |= steps
    return points


def _word(direction: int, better: Better) -> str:
    if direction == 0:
        return "common cause"
    if better == "neither":
        return "high" if direction > 0 else "low"
    return "improvement" if direction == {"higher": 1, "lower": -1}[better] else "concern"


def _assurance(lower: float, upper: float, target: float | None, better: Better) -> str:
    """Whether common cause alone would keep the series on the good side of its target."""
    if target is None or better == "neither":
        return ""
    if lower <= target <= upper:
        return "hit or miss"
    meets = target < lower if better == "higher" else target > upper
    return "consistently meets target" if meets else "consistently misses target"


def _notes(points: int, rebase_at: int | None, *, flat: bool) -> tuple[str, ...]:
    notes = []
    if flat:
        notes.append("The points of a baseline are all alike, so its limits have no width and any change is a signal.")
    if points < RELIABLE_BASELINE:
        notes.append(f"Limits rest on {points} points; fewer than {RELIABLE_BASELINE} make them uncertain.")
    if rebase_at is not None:
        notes.append("Mean and limits were computed anew part-way; signals are relative to the new ones.")
    return tuple(notes)
