"""Multiple imputation that goes with a risk model: learnt in development, applied to discharges one at a time.

With the outcome, or without? Imputing the predictors of somebody just discharged cannot use an outcome that has not
happened. A model developed on predictors that were imputed with it then meets predictors imputed otherwise. Where
values may be missing at use, leaving the outcome out in development too predicts better (Sisk et al. 2023, Stat
Methods Med Res 32:1461): `left_out`, the default. Where every predictor will be complete at use, the outcome belongs
into the imputation of development, as in all of statistics (the same; Moons et al. 2006, J Clin Epidemiol 59:1092):
`used_in_development`. Later discharges are imputed without it in either case (Hoogland et al. 2020, Stat Med 39:3591).

Two performances can be asked for (Wood, Royston and White 2015, Biom J 57:614). *Pragmatic*: of the risks that people
are given, some of their values being imputed: `pool_risks`, then validate. *Ideal*: had every value been recorded:
validate each imputed set, then `pool_performance`; its validation sets would have to be imputed with the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, refuse, rng_faults, whole_faults
from evalkit.estimators.people.impute import Imputed, ImputeOptions, fit_imputation
from evalkit.estimators.people.impute_later import KeptImputation, impute_later, keep_imputation
from evalkit.risk.data import ColumnType, RiskData, column_type

OutcomeUse = Literal["left_out", "used_in_development"]
OnUnseen = Literal["refuse", "pool"]
_OUTCOME = "outcome of the discharge"


@dataclass(frozen=True)
class RiskImputationOptions:
    """`imputations` sets, each after `iterations` rounds; `outcome`: see the module's first lines.

    `numbers`: "matching" borrows values observed in development, "normal" draws from the regression (see
    `ImputeOptions`). `max_categories` guards against text that is a note.
    """

    imputations: int = 5
    iterations: int = 10
    numbers: Literal["matching", "normal"] = "matching"
    outcome: OutcomeUse = "left_out"
    max_categories: int = 30


@dataclass(frozen=True, eq=False, repr=False)
class RiskImputation:
    """Imputation models of development, to be kept beside the risk model.

    `types` of the predictors by name, in order; `kept` is None where nothing was missing in development.
    """

    types: dict[str, ColumnType]
    kept: KeptImputation | None
    options: RiskImputationOptions

    def __repr__(self) -> str:
        return f"RiskImputation(predictors={list(self.types)}, imputations={self.options.imputations})"


class ImputedDevelopment(NamedTuple):
    """Development discharges with their gaps filled, once an imputation, and the models that filled them."""

    sets: tuple[RiskData, ...]
    models: RiskImputation


def impute_development(
    data: RiskData, *, options: RiskImputationOptions = RiskImputationOptions(), rng: np.random.Generator
) -> ImputedDevelopment:
    """Learn imputation models on development discharges, and fill their gaps.

    Chained equations over all predictors (`estimators.people.impute`): numbers by predictive mean matching, yes/no and
    categories by (multinomial) logistic regression, parameters drawn anew. It holds if values are missing at random
    given the other predictors (with `used_in_development`, given these and the outcome). Discharges of one person are
    taken one by one. Where nothing is missing the sets are copies.

    Raises
    ------
    ParameterError
        Options out of range; no `rng`; a predictor that is wholly missing, or has fewer values than can be learnt
        from, or too many categories; all faults at once.
    """
    refuse([*_option_faults(options), *rng_faults(rng)])
    types = {name: column_type(data.features[name]) for name in data.features}
    gaps = data.features.isna()
    if not gaps.to_numpy().any():
        sets = tuple(data.with_features(data.features) for _ in range(options.imputations))
        return ImputedDevelopment(sets, RiskImputation(types, None, options))
    step = "Leave it out, or find out why nobody recorded it."
    refuse(Fault(f'predictor "{name}"', "is wholly missing", next_step=step) for name in gaps if gaps[name].all())
    for_sets, for_models, for_key = rng.spawn(3)
    features = data.features
    learnt = _fit(features, options, for_models)
    kept = keep_imputation(learnt, iterations=options.iterations, rng=for_key)
    filled = learnt.frames
    if options.outcome == "used_in_development":
        filled = _fit(features.assign(**{_OUTCOME: data.outcome}), options, for_sets).frames
    sets = tuple(data.with_features(frame[list(features)]) for frame in filled)
    return ImputedDevelopment(sets, RiskImputation(types, kept, options))


def impute_features(
    models: RiskImputation, features: pd.DataFrame, *, keys: Sequence[object], on_unseen: OnUnseen = "refuse"
) -> tuple[pd.DataFrame, ...]:
    """Fill what is missing in `features` (n, at least the models' columns) of later discharges, once an imputation.

    What a discharge is given depends on its own values, its key of `keys` (n,) and the models alone: not on the other
    rows, their order or number, and on no outcome. Other columns are left as they are. A category never met in
    development is refused; with `pool` it stays and tells nothing about what is missing beside it.

    Fails with `ParameterError` where a predictor is absent, has changed between number and category, holds a category
    or a kind of gap never met in development, or an infinite number.
    """
    refuse(choice_faults("on_unseen", on_unseen, get_args(OnUnseen)))
    faults = [fault for name, kind in models.types.items() for fault in _changed(features, name, kind)]
    if models.kept is None:
        absent = [name for name in models.types if name not in features]
        faults += [Fault(f'predictor "{name}"', "is missing") for name in absent]
        faults += _new_gaps(features, [name for name in models.types if name in features])
        refuse(faults)
        return tuple(features.copy() for _ in range(models.options.imputations))
    refuse(faults)
    return impute_later(models.kept, features, keys=keys, on_unseen=on_unseen)


def impute_validation(
    models: RiskImputation, data: RiskData, *, on_unseen: OnUnseen = "refuse"
) -> tuple[RiskData, ...]:
    """Fill the gaps of later discharges, once an imputation; each discharge's key is its person and day.

    As `impute_features`; and fails with `ParameterError` where a predictor is wholly missing, since its coverage has
    then changed and imputation would hide it.
    """
    lost = [name for name in models.types if name in data.features and data.features[name].isna().all()]
    step = "Its recording has stopped: develop anew without it, or load it."
    refuse(Fault(f'predictor "{name}"', "is wholly missing in validation", next_step=step) for name in lost)
    keys = pd.Series(data.person).astype(str) + "|" + pd.Series(data.time).astype(str)
    frames = impute_features(models, data.features, keys=keys.to_numpy(), on_unseen=on_unseen)
    return tuple(data.with_features(frame) for frame in frames)


def add_missing_indicators(features: pd.DataFrame, original: pd.DataFrame, *, names: Sequence[str]) -> pd.DataFrame:
    """Imputed `features` (n, p) with a yes/no column for each of `names`: whether it was missing in `original`.

    They let a model use that a value was not asked for. Good where missingness stays what it was, harmful where it
    depends on the outcome itself (Sisk et al. 2023). Fails with `ParameterError` for unknown names or other lengths.
    """
    faults = [Fault(f'predictor "{name}"', "is missing") for name in names if name not in original]
    if len(features) != len(original):
        faults.append(Fault("original", "does not match the features", f"{len(original)} rows", f"{len(features)}"))
    refuse(faults)
    return features.assign(**{f"{name} (not recorded)": original[name].isna().to_numpy() for name in names})


# ---- parts ---------------------------------------------------------------------------------------


def _fit(features: pd.DataFrame, options: RiskImputationOptions, rng: np.random.Generator) -> Imputed:
    how = ImputeOptions(
        imputations=options.imputations, iterations=options.iterations, numbers=options.numbers,
        max_categories=options.max_categories,
    )  # fmt: skip
    return fit_imputation(features, columns=list(features), options=how, rng=rng)


def _changed(features: pd.DataFrame, name: str, kind: ColumnType) -> list[Fault]:
    if name not in features or features[name].isna().all():
        return []
    got = column_type(features[name])
    if got == kind:
        return []
    return [Fault(f'predictor "{name}"', "has changed its type", got or str(features[name].dtype), kind)]


def _new_gaps(features: pd.DataFrame, names: Sequence[str]) -> list[Fault]:
    gaps = features[list(names)].isna().sum()
    step = "Nothing was missing in development, so no imputation was learnt."
    return [
        Fault(f'predictor "{name}"', f"{how_many(int(n))} are missing", next_step=step) for name, n in gaps.items() if n
    ]


def _option_faults(options: RiskImputationOptions) -> list[Fault]:
    least = {"imputations": 2, "iterations": 1, "max_categories": 2}
    faults = [f for name, low in least.items() for f in whole_faults(name, getattr(options, name), least=low)]
    faults += choice_faults("numbers", options.numbers, ("matching", "normal"))
    return faults + choice_faults("outcome", options.outcome, get_args(OutcomeUse))
