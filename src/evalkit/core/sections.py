"""The sections of a protocol, each frozen and checked by itself."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.core.dates import PeriodName, Window, period_starts
from evalkit.core.outcomes import AreaDesign, Frozen

DisclosureProfile = Literal[
    "strict", "acro", "nhse_sde", "ons_srs", "nes", "opensafely", "mhsds_publication", "hes",
]  # fmt: skip


class Study(Frozen):
    """What is evaluated and the question asked of it.

    `background` holds paragraphs for the academic report, in Markdown; they may cite `[@key]` what
    `report/references.bib` lists. `readers` says on the title page whom the peer report is for.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    service: str
    place: str
    question: str
    plain_question: str
    background: tuple[str, ...] = ()
    readers: str = "everybody whom this concerns"
    synthetic: bool
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)]


class Exposure(Frozen):
    """Who counts as exposed: everybody a treated area answers for, or people in a programme."""

    by: Literal["area", "programme"]
    programme: str = ""

    @model_validator(mode="after")
    def _programme_is_named(self) -> Exposure:
        if (self.by == "programme") != bool(self.programme):
            raise ValueError('`programme` is named when, and only when, by = "programme"')
        return self


class Areas(Frozen):
    """Treated areas, comparators with people's records, and donors with published counts only.

    `neighbours` are those of the comparators and donors into which the service may have spilled over.
    """

    treated: tuple[str, ...] = Field(min_length=1)
    comparators: tuple[str, ...] = ()
    donors: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _no_area_twice(self) -> Areas:
        names = [*self.treated, *self.comparators, *self.donors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"an area has one role only; named twice: {', '.join(twice)}")
        strangers = sorted(set(self.neighbours) - {*self.comparators, *self.donors})
        if strangers:
            raise ValueError(f"neighbours must be comparators or donors; these are neither: {', '.join(strangers)}")
        return self

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.treated, *self.comparators, *self.donors)

    @property
    def treated_label(self) -> str:
        """What the treated areas are called together in tables and figures."""
        return " and ".join(self.treated) if len(self.treated) <= 3 else "Treated areas"

    @property
    def with_people(self) -> tuple[str, ...]:
        """Areas whose people's records are expected in the tables."""
        return (*self.treated, *self.comparators)


class Dates(Frozen):
    """Study dates; windows are half-open, so `end` is the first day not studied.

    An empty `adoption` means that each area's own date is in the table `areas`. `baseline_start` opens the
    pre-period of person-level analyses, and of rates whose baseline is `recent`: it may be later than
    `study_start` so that another service's start does not fall inside. The `anticipation_days` before
    adoption belong to neither period.
    """

    study_start: dt.date
    baseline_start: dt.date
    adoption: dt.date | None = None
    end: dt.date
    anticipation_days: Annotated[int, Field(ge=0)] = 0
    period: PeriodName = "quarter"

    @model_validator(mode="after")
    def _in_order(self) -> Dates:
        if self.study_start < self.end and not len(period_starts(self.study, self.period)):
            raise ValueError(f"no whole {self.period} lies between study_start and end")
        if not self.study_start <= self.baseline_start < self.end:
            raise ValueError("dates must run study_start <= baseline_start < end")
        if self.adoption and not self.baseline_start < self.adoption < self.end:
            raise ValueError("adoption must fall after baseline_start and before end")
        if self.adoption and self.anticipation_start <= self.baseline_start:
            raise ValueError("anticipation_days leave no baseline")
        return self

    @property
    def study(self) -> Window:
        return Window(self.study_start, self.end)

    @property
    def anticipation_start(self) -> dt.date:
        """First day on which behaviour may have changed ahead of the start."""
        if self.adoption is None:
            raise ValueError("the protocol names no single adoption date")
        return self.adoption - dt.timedelta(days=self.anticipation_days)

    @property
    def baseline(self) -> Window:
        return Window(self.baseline_start, self.anticipation_start)

    @property
    def after(self) -> Window:
        if self.adoption is None:
            raise ValueError("the protocol names no single adoption date")
        return Window(self.adoption, self.end)


class Population(Frozen):
    """Who is studied. `washout_days` decides who is eligible, `lookback_days` what is known about them.

    A discharge is eligible if the person was out of hospital for the `washout_days` before that admission.
    """

    label: str
    min_age_years: Annotated[int, Field(ge=0)] = 18
    max_age_years: Annotated[int, Field(le=120)] = 120
    washout_days: Annotated[int, Field(ge=0)] = 0
    lookback_days: Annotated[int, Field(ge=0)] = 730
    eligible_use_days: Annotated[int, Field(ge=1)] = 365

    @model_validator(mode="after")
    def _ages_in_order(self) -> Population:
        if self.min_age_years >= self.max_age_years:
            raise ValueError("min_age_years must be below max_age_years")
        return self


class Robustness(Frozen):
    """What rates by area are tried against: other designs, and how far trends may have parted.

    `relative_magnitudes` are multiples of the largest break between neighbouring steps before adoption
    (Rambachan and Roth 2023, REStud 90:2555). `anticipation_periods` date adoption back; `placebo_sized`
    are the designs whose false alarms are counted on the study's own untreated areas.
    """

    designs: tuple[AreaDesign, ...] = ()
    relative_magnitudes: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    anticipation_periods: tuple[Annotated[int, Field(ge=1)], ...] = ()
    placebo_sized: tuple[AreaDesign, ...] = ()


RiskKind = Literal["prior_admissions", "logistic", "gradient_boosting", "competing_risk"]
Predictor = Literal[
    "age_years", "sex", "ethnic_group", "imd_decile", "diagnosis", "dual_diagnosis", "forensic_history",
    "prior_admissions", "log_prior_ward_days", "log_stay_days", "from_rehab", "detained", "left_against_advice",
    "destination", "contacts_90d", "missed_90d", "dialog_mean",
]  # fmt: skip
RiskGroup = Literal["sex", "ethnic_group", "age_band", "deprivation", "area", "dual_diagnosis"]


class RiskModel(Frozen):
    """Models of the risk of readmission: developed on discharges before `develop_until`, validated after.

    `predictors` are named before the data are seen, few enough for the events there are (`sample_size`).

    `horizon_days` is the horizon that everything is done for; `other_horizons_days` have models and performance.
    `primary` is the model whose thresholds, groups and explanation are told. `thresholds` are risks at which one
    might act, in the decision curve; `flagged_shares` the shares of discharges that a team could look at.
    """

    horizon_days: Annotated[int, Field(ge=1)] = 90
    other_horizons_days: tuple[Annotated[int, Field(ge=1)], ...] = ()
    develop_until: dt.date
    models: tuple[RiskKind, ...] = ("prior_admissions", "logistic", "gradient_boosting", "competing_risk")
    primary: RiskKind = "logistic"
    predictors: tuple[Predictor, ...] = (
        "prior_admissions", "log_stay_days", "left_against_advice", "dual_diagnosis", "age_years",
    )  # fmt: skip
    expected_auroc: Annotated[float, Field(gt=0.5, lt=1)] = 0.65
    min_events_per_predictor: Annotated[float, Field(gt=0)] = 10
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    flagged_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.05, 0.1, 0.2)
    groups: tuple[RiskGroup, ...] = ("sex", "ethnic_group", "age_band", "deprivation", "area", "dual_diagnosis")
    imputations: Annotated[int, Field(ge=2, le=100)] = 5
    replicates: Annotated[int, Field(ge=100)] = 200

    @model_validator(mode="after")
    def _consistent(self) -> RiskModel:
        if self.primary not in self.models:
            raise ValueError(f'primary "{self.primary}" is not among the models: {", ".join(self.models)}')
        for name in ("models", "predictors", "thresholds", "flagged_shares", "groups"):
            values = getattr(self, name)
            if not values and name != "groups":
                raise ValueError(f"{name} is empty")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice")
        for name in ("thresholds", "flagged_shares"):
            if list(getattr(self, name)) != sorted(getattr(self, name)):
                raise ValueError(f"{name} are not in order, lowest first")
            if len({f"{value:g}" for value in getattr(self, name)}) < len(getattr(self, name)):
                raise ValueError(f"{name} do not differ in their first six digits")
        if "prior_admissions" in self.models and "prior_admissions" not in self.predictors:
            raise ValueError('the model "prior_admissions" needs the predictor "prior_admissions"')
        horizons = (self.horizon_days, *self.other_horizons_days)
        if len(set(horizons)) < len(horizons):
            raise ValueError("horizons are given twice")
        return self


class Inference(Frozen):
    """How much computing an interval may take."""

    bootstrap_replicates: Annotated[int, Field(ge=100)] = 500
    permutations: Annotated[int, Field(ge=99)] = 999


class Disclosure(Frozen):
    """Which profile guards the way out."""

    profile: DisclosureProfile = "strict"


class Claim(Frozen):
    """Something the service said of itself, to be set beside what is found.

    `from_year`: the first year of the service, from 1, that a claim on the budget is about.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    text: str
    source: str
    checked: Literal["seen", "seed", "remembered"]
    outcome: str = ""
    relative_change: float | None = None
    amount_gbp: float | None = None
    from_year: Annotated[int, Field(ge=1)] = 1
    note: str = ""
