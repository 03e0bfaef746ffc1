"""What a protocol says of pathways and of the time after discharge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.core.outcomes import Frozen, Setting, WardType

# Characteristics by which effects may be told apart; `cohort.features` derives them.
Subgroup = Literal["female", "black", "other_minority", "psychosis", "dual_diagnosis", "forensic_history"]
# Kinds of place, from most to least looked after.
PlaceGroup = Literal["ward", "care_home", "supported", "own_place", "elsewhere"]
PLACE_LABELS: dict[PlaceGroup, str] = {
    "ward": "On a ward",
    "care_home": "In a care home",
    "supported": "In supported living or a part of the service",
    "own_place": "In their own place or with family",
    "elsewhere": "Elsewhere, not recorded, or died",
}
# Other ways of balancing the same people; the first that is named is asked for an effect before go-live too.
PeopleDesign = Literal[
    "did_aipw", "did_ipw", "did_gcomp", "entropy_did", "matched_did", "aipw", "ipw", "gcomp", "tmle",
]  # fmt: skip
SUBGROUP_LABELS: dict[Subgroup, str] = {
    "female": "Women, less men and others",
    "black": "Black people, less all others",
    "other_minority": "People of other minorities, less all others",
    "psychosis": "With psychosis, less without",
    "dual_diagnosis": "With dual diagnosis, less without",
    "forensic_history": "With forensic history, less without",
}
NOT_RECORDED = "not_recorded"
DEAD = "dead"
INSTITUTIONS: tuple[PlaceGroup, ...] = ("ward", "care_home")
INSTITUTION_DAYS = "institution_days"
RECURRENCE = "admissions_after_discharge"
DAYS_IN_HOSPITAL = "days_in_hospital_after_discharge"


class PathwayState(Frozen):
    """Somewhere a person can be: on these wards, in these placements, or in these parts of the programme.

    `better` says whether more time there is what people want of the service; `group` is the kind of place, by which
    states are joined where few people are in one.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    plain: str
    better: Literal["lower", "higher", "neither"]
    group: PlaceGroup
    ward_types: tuple[WardType, ...] = ()
    settings: tuple[Setting, ...] = ()
    components: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_somewhere(self) -> PathwayState:
        if not (self.ward_types or self.settings or self.components):
            raise ValueError("a state needs `ward_types`, `settings` or `components`")
        if self.key in (NOT_RECORDED, DEAD):
            raise ValueError(f'"{self.key}" is a state of every pathway and is not listed')
        return self


class Pathway(Frozen):
    """Where people are over `horizon_days` from go-live, and from the start of the baseline before it.

    Where several states hold on one day the first listed counts. `programme` is the one whose components are
    states; `show_every_days` is how far apart the days are that tables show. `designs` are other ways of balancing
    the cohort at go-live, by which days on wards and in care homes are compared.
    """

    horizon_days: Annotated[int, Field(ge=30)] = 365
    programme: str = ""
    show_every_days: Annotated[int, Field(ge=28)] = 91
    designs: tuple[PeopleDesign, ...] = ()
    states: tuple[PathwayState, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _each_place_once(self) -> Pathway:
        keys = [s.key for s in self.states]
        twice = {k for k in keys if keys.count(k) > 1}
        for field in ("ward_types", "settings", "components"):
            places = [place for s in self.states for place in getattr(s, field)]
            twice |= {place for place in places if places.count(place) > 1}
        if twice:
            raise ValueError(f"named in two states: {', '.join(sorted(twice))}")
        if bool(self.programme) != any(s.components for s in self.states):
            raise ValueError("`programme` is named when, and only when, a state has `components`")
        return self

    @property
    def state_keys(self) -> tuple[str, ...]:
        """All states in order, with those that every pathway has."""
        return (*(s.key for s in self.states), NOT_RECORDED, DEAD)

    @property
    def groups(self) -> tuple[PlaceGroup, ...]:
        """The kind of place of each of `state_keys`."""
        return (*(s.group for s in self.states), "elsewhere", "elsewhere")

    @property
    def labels(self) -> dict[str, str]:
        return {s.key: s.label for s in self.states} | {NOT_RECORDED: "Not recorded", DEAD: "Died"}


class AfterDischarge(Frozen):
    """What is followed after the first discharge of each period beside the first readmission.

    `horizon_days`: how long admissions and days in hospital are counted. `subgroups_of` is the readmission outcome
    whose effect is compared between people with and without each of `subgroups`, in one model with shrinkage.
    """

    horizon_days: Annotated[int, Field(ge=30)] = 365
    subgroups_of: str = ""
    subgroups: tuple[Subgroup, ...] = ()

    @model_validator(mode="after")
    def _both_or_neither(self) -> AfterDischarge:
        if bool(self.subgroups_of) != bool(self.subgroups):
            raise ValueError("`subgroups` and `subgroups_of` are named together")
        return self
