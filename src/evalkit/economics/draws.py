"""Draws of cost and effect of each strategy: what a probabilistic analysis or a bootstrap hands to all that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, suggest_name
from evalkit.core.faults import refuse
from evalkit.economics.faults import as_array, name_faults

MIN_DRAWS = 2  # below this nothing has a spread


@dataclass(frozen=True, eq=False)
class Psa:
    """Draws of a probabilistic sensitivity analysis, S of them of K strategies; row s of everything is one draw.

    Attributes
    ----------
    strategies : K names, 2 or more
    costs_gbp : float array, shape (S, K)
    effects : float array, shape (S, K); more is better (losses are negative)
    effect_unit : what one unit of effect is, such as "QALY" or "day at home"
    parameters : DataFrame with S rows, one column an uncertain input, or None; values in rows as in the draws

    Raises
    ------
    ParameterError
        Lists all at once: names missing or given twice, fewer than 2 strategies, shapes that do not fit together,
        values that are missing or infinite.
    """

    strategies: tuple[str, ...]
    costs_gbp: np.ndarray
    effects: np.ndarray
    effect_unit: str
    parameters: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        names = tuple(self.strategies)
        costs, faults = as_array(self.costs_gbp, "costs_gbp", ndim=2)
        effects, wrong = as_array(self.effects, "effects", ndim=2)
        faults = name_faults(names, "strategies", least=2) + faults + wrong
        faults += _shape_faults(costs, effects, len(names))
        if not isinstance(self.effect_unit, str) or not self.effect_unit:
            faults.append(Fault("effect_unit", "it is not said what a unit of effect is", allowed="text, as QALY"))
        parameters, wrong = _parameters(self.parameters, len(costs))
        refuse(faults + wrong)
        for name, value in (("strategies", names), ("costs_gbp", costs), ("effects", effects)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "parameters", parameters)

    @property
    def n_draws(self) -> int:
        return len(self.costs_gbp)

    @property
    def n_strategies(self) -> int:
        return len(self.strategies)

    def place(self, strategy: str) -> int:
        """The column of a strategy; raises ParameterError for one that there is not."""
        if strategy in self.strategies:
            return self.strategies.index(strategy)
        hint = suggest_name(str(strategy), self.strategies)
        refuse([Fault("strategy", "there is no such strategy", f'"{strategy}"', ", ".join(self.strategies), hint)])
        return -1

    def differences(self, target: str, reference: str) -> tuple[np.ndarray, np.ndarray]:
        """Cost and effect of `target` less those of `reference`, each of shape (S,)."""
        one, other = self.place(target), self.place(reference)
        if one == other:
            refuse([Fault("reference", "a strategy is compared with itself", f'"{target}"')])
        return self.costs_gbp[:, one] - self.costs_gbp[:, other], self.effects[:, one] - self.effects[:, other]

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        strategies: Sequence[str],
        *,
        effect_unit: str,
        cost_prefix: str = "cost_",
        effect_prefix: str = "eff_",
        parameters: pd.DataFrame | None = None,
    ) -> Psa:
        """From a frame with a row a draw and columns `cost_<strategy>` and `eff_<strategy>`.

        `parameters` has its rows in the order of `frame`. Raises ParameterError for columns that are missing or
        stand in the frame twice, or hold no numbers, and as the class does.
        """
        faults = name_faults(tuple(strategies), "strategies", least=2)
        columns = []
        for prefix in (cost_prefix, effect_prefix):
            wanted = [f"{prefix}{name}" for name in strategies]
            faults += _column_faults(frame, wanted)
            columns.append(wanted)
        refuse(faults)
        costs, effects = (frame[wanted].to_numpy() for wanted in columns)
        return cls(tuple(strategies), costs, effects, effect_unit, parameters)

    @classmethod
    def from_differences(
        cls,
        delta_cost_gbp: np.ndarray,
        delta_effect: np.ndarray,
        *,
        effect_unit: str,
        names: tuple[str, str] = ("without", "with"),
        parameters: pd.DataFrame | None = None,
    ) -> Psa:
        """From draws of the differences in cost and in effect, each of shape (S,), between two arms.

        The first of `names` gets cost and effect 0, so net benefit is that of the second over the first; what
        depends on differences alone (acceptability, EIB, EVPI, EVPPI, expected loss) is as from both arms' draws.
        Raises ParameterError as the class does.
        """
        cost, faults = as_array(delta_cost_gbp, "delta_cost_gbp", ndim=1)
        effect, wrong = as_array(delta_effect, "delta_effect", ndim=1)
        faults += wrong
        if not faults and len(cost) != len(effect):
            got = f"{len(cost):,} of cost, {len(effect):,} of effect"
            faults.append(Fault("delta_effect", "draws of cost and effect must be pairs", got))
        if len(names) != 2:
            faults.append(Fault("names", "two arms are compared", str(len(names)), "2 names"))
        refuse(faults)
        costs, effects = (np.column_stack([np.zeros_like(d), d]) for d in (cost, effect))
        return cls(tuple(names), costs, effects, effect_unit, parameters)


def _shape_faults(costs: np.ndarray, effects: np.ndarray, n_strategies: int) -> list[Fault]:
    faults = []
    for where, array in (("costs_gbp", costs), ("effects", effects)):
        if array.size and array.shape[1] != n_strategies:
            got, allowed = f"{array.shape[1]} columns", f"{n_strategies}, one a strategy"
            faults.append(Fault(where, "columns and strategies do not fit", got, allowed))
        if array.size and len(array) < MIN_DRAWS:
            faults.append(Fault(where, "too few draws", str(len(array)), f"{MIN_DRAWS} or more"))
    if costs.size and effects.size and len(costs) != len(effects):
        got = f"{len(costs):,} of cost, {len(effects):,} of effect"
        faults.append(Fault("effects", "draws of cost and effect must be pairs", got))
    return faults


def _column_faults(frame: pd.DataFrame, wanted: Sequence[str]) -> list[Fault]:
    if not isinstance(frame, pd.DataFrame):
        return [Fault("frame", "a pandas DataFrame is wanted", got=type(frame).__name__)]
    faults = []
    for name in wanted:
        if name not in frame.columns:
            hint = suggest_name(name, [str(c) for c in frame.columns])
            faults.append(Fault("frame", f'there is no column "{name}"', next_step=hint))
        elif (frame.columns == name).sum() > 1:
            faults.append(Fault("frame", f'the column "{name}" stands in the frame twice'))
        elif not pd.api.types.is_numeric_dtype(frame[name]):
            faults.append(Fault(name, "it does not hold numbers", got=str(frame[name].dtype)))
    return faults


def _parameters(frame: pd.DataFrame | None, n_draws: int) -> tuple[pd.DataFrame | None, list[Fault]]:
    """Parameters as floats under names that are text, and what is wrong with them."""
    if frame is None:
        return None, []
    if not isinstance(frame, pd.DataFrame):
        return None, [Fault("parameters", "a pandas DataFrame is wanted", got=type(frame).__name__)]
    faults = name_faults(tuple(frame.columns), "parameters")
    if len(frame) != n_draws:
        faults.append(Fault("parameters", "as many rows as draws are wanted", f"{len(frame):,}", f"{n_draws:,}"))
    texts = [
        str(c) for c, dtype in zip(frame.columns, frame.dtypes, strict=True) if not pd.api.types.is_numeric_dtype(dtype)
    ]
    faults += [Fault(f'parameters, "{name}"', "it does not hold numbers") for name in texts]
    if faults:
        return None, faults
    for place, name in enumerate(frame.columns):
        faults += as_array(
            frame.iloc[:, place].to_numpy(dtype=np.float64, na_value=np.nan), f'parameters, "{name}"', ndim=1
        )[1]
    return frame.astype(np.float64).reset_index(drop=True) if not faults else None, faults
