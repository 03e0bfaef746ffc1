"""What a result owes to each input: one at a time, two at a time, drawn from distributions, and where it turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import optimize

from evalkit.core.errors import Fault, NotEstimable, suggest_name
from evalkit.core.faults import choice_faults, is_finite, refuse, rng_faults, whole_faults
from evalkit.economics.faults import as_array, name_faults, number_faults

Family = Literal["gamma", "lognormal", "beta", "fixed"]
Result = Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class Uncertain:
    """An uncertain input by its mean and coefficient of variation (standard deviation over mean).

    Prices are `gamma` or `lognormal` (mean above 0), shares `beta` (mean between 0 and 1); `fixed` never varies.
    """

    family: Family
    mean: float
    cv: float = 0.0


@dataclass(frozen=True)
class Threshold:
    """Where the decision changes along one input: `values` ascending, none where `reason` says that it never does."""

    parameter: str
    values: tuple[float, ...]
    reason: str = ""


def compute_one_way(
    result: Result, base: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """A tornado: `result` with one input at a time at its low and its high value, the others as in `base`.

    Columns: parameter, low, high (of the input), result_low, result_high (of the result there), result_base, spread
    (|result_high - result_low|); the widest first, equals in the order of `ranges`.

    Raises ParameterError for inputs that `base` does not have and ranges that are not two finite numbers in order;
    NotEstimable where `result` gives no finite number, with the input that it was for.
    """
    faults = _base_faults(base)
    for name, ends in ranges.items():
        faults += _unknown(name, base)
        if len(ends) != 2 or not all(is_finite(end) for end in ends) or ends[0] > ends[1]:
            faults.append(Fault(f'ranges, "{name}"', "not a low and a high number", str(ends), "(low, high)"))
    refuse(faults)
    middle = _evaluate(result, base, "base")
    rows = []
    for name, (low, high) in ranges.items():
        at = [_evaluate(result, {**base, name: float(end)}, f"{name} = {end:g}") for end in (low, high)]
        rows.append((name, float(low), float(high), *at, middle, abs(at[1] - at[0])))
    columns = ["parameter", "low", "high", "result_low", "result_high", "result_base", "spread"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("spread", ascending=False, kind="stable").reset_index(drop=True)


def compute_two_way(
    result: Result, base: Mapping[str, float], first: tuple[str, Sequence[float]], second: tuple[str, Sequence[float]]
) -> pd.DataFrame:
    """`result` over a grid of two inputs, each a name and its values; columns are the two names and `result`.

    Raises as `compute_one_way`, and ParameterError where the two are one.
    """
    faults = _base_faults(base)
    for name, values in (first, second):
        faults += _unknown(name, base) + as_array(values, f'values of "{name}"', ndim=1)[1]
    if first[0] == second[0]:
        faults.append(Fault("second", "the same input as the first", f'"{first[0]}"'))
    refuse(faults)
    rows = [
        (float(a), float(b), _evaluate(result, {**base, first[0]: float(a), second[0]: float(b)},
                                       f"{first[0]} = {a:g}, {second[0]} = {b:g}"))
        for a in first[1] for b in second[1]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[first[0], second[0], "result"])


def find_threshold(
    result: Result, base: Mapping[str, float], parameter: str, low: float, high: float, *, points: int = 101
) -> Threshold:
    """Values of one input, between `low` and `high`, at which `result` changes its sign, and so the decision.

    `result` is what a decision turns on, such as a saving or an incremental net benefit. Its sign is read at `points`
    evenly spaced values and each change is narrowed down by Brent's method: two changes between neighbours are not
    seen, and a jump over 0 counts as a change where it jumps.

    Raises as `compute_one_way`.
    """
    faults = _base_faults(base) + _unknown(parameter, base) + whole_faults("points", points, least=2)
    faults += number_faults("low", low) + number_faults("high", high)
    if not faults and not low < high:
        faults.append(Fault("high", "not above low", f"{low:g} to {high:g}"))
    refuse(faults)

    def at(value: float) -> float:
        return _evaluate(result, {**base, parameter: float(value)}, f"{parameter} = {value:g}")

    grid = np.linspace(low, high, points)
    signs = np.sign([at(value) for value in grid])
    found = [float(value) for value in grid[signs == 0]]
    found += [float(optimize.brentq(at, grid[j], grid[j + 1])) for j in np.flatnonzero(signs[:-1] * signs[1:] < 0)]
    if found:
        return Threshold(parameter, tuple(sorted(found)))
    word = "above" if signs[0] > 0 else "below"
    return Threshold(parameter, (), f"the result is {word} 0 all the way from {low:g} to {high:g}: no value turns it")


def draw_values(inputs: Mapping[str, Uncertain], n_draws: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Independent draws of uncertain inputs: `n_draws` rows, one column an input, in the order given.

    By moments, m the mean and v the coefficient of variation: gamma with shape 1 / v^2 and scale m v^2; lognormal with
    log-variance log(1 + v^2) and log-mean log(m) less half of it; beta with a = m n and b = (1 - m) n,
    n = (1 - m) / (m v^2) - 1.

    Raises ParameterError that lists all inputs whose family, mean or spread cannot be, and without `rng`.
    Source: Briggs, Claxton and Sculpher 2006, Decision Modelling for Health Economic Evaluation, chapter 4.
    """
    faults = name_faults(tuple(inputs), "inputs") + whole_faults("n_draws", n_draws, least=1) + rng_faults(rng)
    for name, one in inputs.items():
        faults += _uncertain_faults(name, one)
    refuse(faults)
    return pd.DataFrame({name: _draw(one, int(n_draws), rng) for name, one in inputs.items()})


def _draw(one: Uncertain, n: int, rng: np.random.Generator) -> np.ndarray:
    mean, cv = float(one.mean), float(one.cv)
    if one.family == "fixed" or cv == 0:
        return np.full(n, mean)
    if one.family == "gamma":
        return rng.gamma(1 / cv**2, mean * cv**2, n)
    if one.family == "lognormal":
        variance = math.log1p(cv**2)
        return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), n)
    size = (1 - mean) / (mean * cv**2) - 1
    return rng.beta(mean * size, (1 - mean) * size, n)


def _uncertain_faults(name: str, one: Uncertain) -> list[Fault]:
    where = f'inputs, "{name}"'
    faults = choice_faults(f"{where}, family", one.family, ("gamma", "lognormal", "beta", "fixed"))
    faults += number_faults(f"{where}, mean", one.mean) + number_faults(f"{where}, cv", one.cv, least=0)
    if faults:
        return faults
    if one.family == "fixed" and one.cv > 0:
        return [Fault(f"{where}, cv", "a fixed input does not vary", f"{one.cv:g}", "0")]
    if one.family in ("gamma", "lognormal") and one.mean <= 0:
        return [Fault(f"{where}, mean", f"a {one.family} has none such", f"{one.mean:g}", "above 0")]
    if one.family == "beta" and not 0 < one.mean < 1:
        return [Fault(f"{where}, mean", "a beta has none such", f"{one.mean:g}", "between 0 and 1")]
    if one.family == "beta" and one.cv > 0 and (1 - one.mean) / (one.mean * one.cv**2) <= 1:
        most = math.sqrt((1 - one.mean) / one.mean)
        return [Fault(f"{where}, cv", "no share varies so much about its mean", f"{one.cv:g}", f"below {most:.4g}")]
    return []


def _base_faults(base: Mapping[str, float]) -> list[Fault]:
    faults = name_faults(tuple(base), "base")
    for name, value in base.items():
        faults += number_faults(f'base, "{name}"', value)
    return faults


def _unknown(name: str, base: Mapping[str, float]) -> list[Fault]:
    if name in base:
        return []
    hint = suggest_name(str(name), [str(known) for known in base])
    return [Fault("parameter", "base has no such input", f'"{name}"', ", ".join(map(str, base)), hint)]


def _evaluate(result: Result, values: Mapping[str, float], where: str) -> float:
    number = result(values)
    if is_finite(number):
        return float(number)
    raise NotEstimable(Fault(f"result at {where}", "it gives no finite number", str(number)))
