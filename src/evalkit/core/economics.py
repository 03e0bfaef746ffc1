"""What a protocol says of money: the year of prices, who pays, what is valued, and what is tried besides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.core.outcomes import Frozen

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Persistence = Literal["holds", "fades", "stops"]


class ValuedDays(Frozen):
    """Days in states of the pathway that people value, such as days at home; the unit is a day."""

    kind: Literal["days"]
    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    plain: str
    unit: str = "day"
    states: tuple[str, ...] = Field(min_length=1)
    max_threshold_gbp: Positive = 500.0


class ValuedScore(Frozen):
    """Mean score of a questionnaire over its items, such as DIALOG; the unit is a point.

    With `utility_per_point` and `utility_at_zero`, a mapping to health-related quality of life from `mapping_source`,
    the unit is a QALY; no mapping is ever assumed.
    """

    kind: Literal["score"]
    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    plain: str
    unit: str = "point"
    instrument: str
    max_threshold_gbp: Positive = 5000.0
    utility_per_point: Finite | None = None
    utility_at_zero: Finite | None = None
    mapping_source: str = ""

    @model_validator(mode="after")
    def _mapping_is_whole(self) -> ValuedScore:
        given = [self.utility_per_point is not None, self.utility_at_zero is not None, bool(self.mapping_source)]
        if any(given) and not all(given):
            raise ValueError("a mapping to QALYs needs utility_per_point, utility_at_zero and mapping_source, or none")
        if self.utility_per_point == 0:
            raise ValueError("utility_per_point is 0, so the score would have no worth")
        return self

    @property
    def is_qaly(self) -> bool:
        """Whether a mapping to QALYs is given."""
        return self.utility_per_point is not None


Valued = Annotated[ValuedDays | ValuedScore, Field(discriminator="kind")]


class WhatIf(Frozen):
    """Another borough: how many people it would serve, and what things cost there by comparison.

    `cost_per_person_quarter_gbp` is what those people cost now; empty means the same as here without the service.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    people: Annotated[int, Field(ge=10)]
    price_ratio: Annotated[float, Field(gt=0, le=10)] = 1.0
    cost_per_person_quarter_gbp: Positive | None = None
    set_up_gbp: NotNegative = 0.0


class Economics(Frozen):
    """Prices, discounting, payers and the economic evaluation.

    All money is put in money of `price_year` (a financial year, by its first calendar year) by the table `price_index`.
    `joint_nhs_share` of what is jointly funded, and of the programme, falls on the NHS and the rest on the council.
    `bootstrap_replicates` draws of people stand behind every number of cost and value, `psa_draws` of them, with prices
    drawn too, behind the plane. `price_sd` is the coefficient of variation of a price that was not verified, for the
    probabilistic analysis.
    `between_place_sd` says how much the logarithm of actual / counterfactual cost would vary between places, which one
    place cannot show: `what_if` asks for it.
    """

    price_year: Annotated[int, Field(ge=1990, le=2100)]
    discount_rate: Annotated[float, Field(ge=0, lt=0.2)] = 0.035
    joint_nhs_share: Share = 0.5
    price_change: Annotated[float, Field(gt=0, lt=1)] = 0.2
    price_sd: Annotated[float, Field(gt=0, le=2)] = 0.2
    impact_years: Annotated[int, Field(ge=1, le=20)] = 5
    persistence: tuple[Persistence, ...] = Field(default=("holds", "fades", "stops"), min_length=1)
    budget_price_year: Annotated[int, Field(ge=1990, le=2100)] | None = None
    bootstrap_replicates: Annotated[int, Field(ge=500)] = 2000
    psa_draws: Annotated[int, Field(ge=1000, le=100_000)] = 5000
    between_place_sd: NotNegative | None = None
    valued: tuple[Valued, ...] = ()
    what_if: tuple[WhatIf, ...] = ()

    @model_validator(mode="after")
    def _no_key_twice(self) -> Economics:
        for what, keys in (("valued", [v.key for v in self.valued]), ("what_if", [w.key for w in self.what_if])):
            twice = sorted({k for k in keys if keys.count(k) > 1})
            if twice:
                raise ValueError(f"{what} key used twice: {', '.join(twice)}")
        if len(set(self.persistence)) < len(self.persistence):
            raise ValueError(f"persistence used twice: {', '.join(self.persistence)}")
        if self.what_if and self.between_place_sd is None:
            raise ValueError("what_if needs between_place_sd: how much places differ, which one place cannot show")
        return self
