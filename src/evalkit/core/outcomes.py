"""Outcomes of a protocol: what is counted, how it is estimated, and what else is tried."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Setting = Literal[
    "residential_care", "nursing_care", "supported_living_24h", "supported_living",
    "floating_support", "own_tenancy", "family", "homeless", "prison",
]  # fmt: skip
WardType = Literal["acute", "picu", "rehab", "secure"]
OutcomeRole = Literal["primary", "sensitivity"]
RateEvent = Literal["placement_start", "placement_end", "ward_admission", "ward_days", "reported"]
Denominator = Literal["population", "residents"]
RateEstimator = Literal["poisson_did_permutation"]
RateSensitivity = Literal["poisson_did_recent_baseline", "poisson_did_whole_baseline", "poisson_did_near_areas"]
# Designs that may be set beside the primary one for rates by area; `estimators.area.registry` holds them.
AreaDesign = Literal[
    "twfe_cluster", "twfe_newey_west", "twfe_driscoll_kraay", "twfe_wild_bootstrap", "twfe_conley_taber",
    "did_permutation", "did_conformal", "synthetic_control", "synthetic_control_conformal",
    "ridge_augmented", "synthetic_did", "synthetic_did_placebo", "callaway_santanna", "sun_abraham",
    "imputation", "its_reml_ar", "its_level", "its_ml_ar", "its_newey_west", "its_prais_winsten",
    "controlled_its", "controlled_its_level", "its_poisson", "controlled_its_poisson",
]  # fmt: skip
Perspective = Literal["nhs", "local_authority", "nhs_and_local_authority", "public_sector"]
# Designs that may be set beside the primary one for costs.
CostDesign = Literal[
    "additive_did", "dr_cost_did_difference", "dr_cost_did_proportion", "glm_did_gamma", "glm_did_poisson",
    "two_part_did",
]  # fmt: skip
NAIVE = "before_after"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class _Outcome(Frozen):
    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    plain: str
    definition: str
    better: Literal["lower", "higher", "neither"]
    role: OutcomeRole = "primary"


class ReadmissionOutcome(_Outcome):
    """A return to a ward within `horizon_days` of discharge; death competes."""

    kind: Literal["readmission"]
    horizon_days: Annotated[int, Field(ge=1)]
    index_ward_types: tuple[WardType, ...] = ("acute", "picu", "rehab")
    estimator: Literal["overlap_aipw_did"] = "overlap_aipw_did"
    sensitivity: tuple[Literal["unweighted_did"], ...] = ()
    scale: Literal["risk_difference"] = "risk_difference"


class RateOutcome(_Outcome):
    """Events counted by area and period, over person-time.

    `baseline` is the pre-period of the primary estimate: `whole` from `study_start`, `recent` from
    `baseline_start`. `displaced_to` names the outcomes to which use may have moved.
    """

    kind: Literal["rate"]
    baseline: Literal["whole", "recent"] = "whole"
    event: RateEvent
    settings: tuple[Setting, ...] = ()
    ward_types: tuple[WardType, ...] = ()
    out_of_area: bool | None = None
    denominator: Denominator = "population"
    count_unit: str = "events"
    estimator: RateEstimator = "poisson_did_permutation"
    sensitivity: tuple[RateSensitivity, ...] = ()
    displaced_to: tuple[str, ...] = ()
    scale: Literal["rate_ratio"] = "rate_ratio"

    @model_validator(mode="after")
    def _names_its_events(self) -> RateOutcome:
        if self.event.startswith("placement") and not self.settings:
            raise ValueError(f'event = "{self.event}" needs `settings`')
        if self.event.startswith("ward") and not self.ward_types:
            raise ValueError(f'event = "{self.event}" needs `ward_types`')
        of_wards = self.ward_types or self.out_of_area is not None
        if self.settings if self.event.startswith("ward") else of_wards:
            raise ValueError(f'event = "{self.event}" has no use for what another kind of event is chosen by')
        if f"poisson_did_{self.baseline}_baseline" in self.sensitivity:
            raise ValueError(f'a sensitivity analysis repeats the baseline "{self.baseline}" of the primary')
        return self


class CostOutcome(_Outcome):
    """Public cost per person and quarter, alive or dead, over the period after adoption.

    `public_sector` adds to the NHS and the council what `housing_week.<setting>` says that others pay, such as housing
    benefit.
    """

    kind: Literal["cost"]
    perspective: Perspective
    include_programme: bool = True
    estimator: Literal["log_link_did_bootstrap"] = "log_link_did_bootstrap"
    sensitivity: tuple[CostDesign, ...] = ()
    scale: Literal["gbp_per_person_quarter"] = "gbp_per_person_quarter"


Outcome = Annotated[ReadmissionOutcome | RateOutcome | CostOutcome, Field(discriminator="kind")]
