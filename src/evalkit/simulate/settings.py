"""Settings of a simulated world: read from TOML, validated, frozen. Unknown keys are errors."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalkit.core.errors import Fault, ParameterError, suggest_name

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(gt=0)]

SETTINGS: tuple[str, ...] = (
    "residential_care", "nursing_care", "supported_living_24h", "supported_living",
    "floating_support", "own_tenancy", "family", "homeless",
)  # fmt: skip
WARDS: tuple[str, ...] = ("acute", "picu", "rehab", "secure")
ETHNIC_GROUPS: tuple[str, ...] = ("white", "black", "asian", "mixed", "other")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _adds_to_one(shares: dict[str, float] | tuple[float, ...], what: str) -> None:
    values = shares.values() if isinstance(shares, dict) else shares
    if abs(sum(values) - 1) > 1e-6:
        raise ValueError(f"{what} must add to 1, and add to {sum(values):.4f}")


class WorldPart(_Frozen):
    """Name, seed and size. `scale` multiplies every area's people; `block_people` bounds memory."""

    name: str
    seed: Annotated[int, Field(ge=0)]
    scale: Factor = 1.0
    block_people: Annotated[int, Field(ge=100)] = 25_000


class DatesPart(_Frozen):
    """`history_start` is the first day simulated; `end` the first day that is not."""

    history_start: dt.date
    study_start: dt.date
    register_closes: dt.date
    front_door: dt.date
    adoption: dt.date
    ward_closes: dt.date
    end: dt.date

    @model_validator(mode="after")
    def _in_order(self) -> DatesPart:
        if not self.history_start < self.study_start < self.adoption < self.end:
            raise ValueError("dates must run history_start < study_start < adoption < end")
        if not self.history_start < self.register_closes < self.end:
            raise ValueError("register_closes must fall between history_start and end")
        return self


class AreasPart(_Frozen):
    """Areas with people on the register at any time, and the mix of people each has."""

    treated: str
    comparators: tuple[str, ...]
    usual_mix: str
    people: dict[str, Annotated[int, Field(ge=1)]]
    mix: dict[str, str] = {}

    @model_validator(mode="after")
    def _names_are_known(self) -> AreasPart:
        named = [self.treated, *self.comparators, *self.mix]
        unknown = sorted({name for name in named if name not in self.people})
        if unknown:
            raise ValueError(f"areas without a number of people: {', '.join(unknown)}")
        return self


class MixPart(_Frozen):
    """Shares of observed covariates in an area. `imd_decile` runs from 1, the most deprived."""

    ethnic_group: dict[str, Share]
    imd_decile: tuple[Share, ...] = Field(min_length=10, max_length=10)
    dual_diagnosis: Share

    @model_validator(mode="after")
    def _shares_add_up(self) -> MixPart:
        if tuple(self.ethnic_group) != ETHNIC_GROUPS:
            raise ValueError(f"ethnic_group lists, in this order, {', '.join(ETHNIC_GROUPS)}")
        _adds_to_one(self.ethnic_group, "ethnic_group")
        _adds_to_one(self.imd_decile, "imd_decile")
        return self


class PeoplePart(_Frozen):
    """Who is on the register, and what makes one person's risk higher than another's for good."""

    at_start: Share
    age_mean: float
    age_sd: Factor
    age_min: int
    age_max: int
    male: Share
    forensic_male: Share
    forensic_female: Share
    diagnosis: dict[str, Share]
    frailty_sd: Rate
    frailty_dual: float
    frailty_forensic: float
    frailty_imd_decile: float
    frailty_diagnosis: dict[str, float]
    moves_area: Share
    leaves_a_year: Rate
    death_a_year_at_45: Rate
    death_log_per_year: Factor
    death_log_frailty: float

    @model_validator(mode="after")
    def _diagnoses_add_up(self) -> PeoplePart:
        _adds_to_one(self.diagnosis, "diagnosis")
        unknown = sorted(set(self.frailty_diagnosis) - set(self.diagnosis))
        if unknown:
            raise ValueError(f"frailty_diagnosis names {', '.join(unknown)}, which is not a diagnosis here")
        return self


class SeverityPart(_Frozen):
    """Transient severity: an AR(1) around 0 with standard deviation 1; higher at joining the register."""

    half_life_weeks: Factor
    mean_at_start: float
    mean_at_joining: float
    sd_at_joining: Rate


class HospitalPart(_Frozen):
    """Hazards a year for a person of average frailty and severity; stays in days."""

    acute_a_year: Rate
    acute_frailty: float
    acute_severity: float
    after_discharge_peak: Factor
    after_discharge_weeks: Factor
    after_discharge_tail: Factor
    after_discharge_tail_weeks: Factor
    acute_days_median: Factor
    acute_days_log_sd: Rate
    same_day: Share
    through_picu: Share
    changes_hospital: Share
    rehab_a_year: Rate
    rehab_after_acute: Share
    rehab_frailty: float
    rehab_severity: float
    rehab_days_median: Factor
    rehab_days_log_sd: Rate
    rehab_out_of_area: Share
    out_of_area_days_factor: Factor
    rehab_at_start: Share
    secure_a_year: Rate
    secure_forensic: Factor
    secure_days_median: Factor
    secure_out_of_area: Share
    placement_kept_days: Annotated[int, Field(ge=1)]


class PlacementsPart(_Frozen):
    """Where people live when not in hospital; hazards a year."""

    at_start: dict[str, Share]
    entry_a_year: Rate
    entry_frailty: float
    entry_severity: float
    nursing_share: Share
    entry_after_rehab: Share
    after_rehab: dict[str, Share]
    discharge_a_year: Rate
    discharge_severity: float
    discharged_to: dict[str, Share]
    moves_a_year: dict[str, Rate]
    moves_to: dict[str, dict[str, Share]]

    @model_validator(mode="after")
    def _names_and_shares(self) -> PlacementsPart:
        for what, shares in (
            ("at_start", self.at_start), ("after_rehab", self.after_rehab), ("discharged_to", self.discharged_to),
            *((f"moves_to.{name}", shares) for name, shares in self.moves_to.items()),
        ):  # fmt: skip
            unknown = sorted(set(shares) - set(SETTINGS))
            if unknown:
                raise ValueError(f"{what} names {', '.join(unknown)}; allowed: {', '.join(SETTINGS)}")
            _adds_to_one(shares, what)
        for name in (*self.moves_a_year, *self.moves_to):
            if name not in SETTINGS:
                raise ValueError(f'"{name}" is not a setting; allowed: {", ".join(SETTINGS)}')
        if set(self.moves_a_year) != set(SETTINGS) or set(self.moves_to) != set(SETTINGS):
            raise ValueError("moves_a_year and moves_to name every setting")
        return self


class NationalPart(_Frozen):
    """What happens in every area alike: the trend, and shocks by area and quarter on log hazards."""

    annual_change: Annotated[float, Field(gt=-1)]
    shock_sd: Rate
    shock_correlation: Annotated[float, Field(ge=0, lt=1)]
    area_sd: Rate
    front_door_factor: Factor


class AlliancePart(_Frozen):
    """What the alliance changes in the treated area. A factor of 1 is no effect."""

    ramp_weeks: Rate
    rehab_factor: Factor
    out_of_area_share: Share
    acute_stay_factor: Factor
    entry_factor: Factor
    diverted_to_24h: Share
    readmission_factor: Factor
    discharge_factor: Factor
    enrol_a_year: Rate
    enrol_severity: float
    enrol_rehab_or_home: Factor
    enrol_after_discharge: Factor
    enrol_after_discharge_weeks: Rate


class CostPart(_Frozen):
    """A unit cost with where it comes from."""

    unit: str
    price_gbp: Rate
    source: str
    verified: bool


class MoneyPart(_Frozen):
    """Prices and budgets, in pounds of `price_year`.

    `treated_price_change`: how much less (or more) the treated area pays for placements that begin from adoption on.
    """

    price_year: int
    inflation_a_year: float
    treated_price_change: float = 0.0
    price_log_sd: Rate
    price_missing: Share
    funder: dict[str, Share]
    budget_per_person_gbp: Rate
    budget_actual: dict[str, Factor]
    unit_costs: dict[str, CostPart]

    @model_validator(mode="after")
    def _complete(self) -> MoneyPart:
        _adds_to_one(self.funder, "funder")
        needed = [f"ward_day.{w}" for w in (*WARDS, "out_of_area")] + [f"placement_week.{s}" for s in SETTINGS]
        missing = [n for n in (*needed, "contact", "programme_week.ipsa") if n not in self.unit_costs]
        if missing:
            raise ValueError(f"unit_costs lacks {', '.join(missing)}")
        return self


class RecordsPart(_Frozen):
    """What is written down about people besides stays and placements."""

    contacts_a_year: Rate
    contact_attended: Share
    assessment_gap_weeks: Factor
    assessment_missing: Share
    assessment_missing_severity: float
    item_missing: Share
    dialog_mean: float
    dialog_severity: float
    dialog_sd: Rate
    covariate_missing: Share
    activity: dict[str, Share]
    health_check_done: dict[str, Share]


class WorldSettings(_Frozen):
    """Everything that defines a world, apart from the seed. Holds no result."""

    world: WorldPart
    dates: DatesPart
    areas: AreasPart
    mix: dict[str, MixPart]
    people: PeoplePart
    severity: SeverityPart
    hospital: HospitalPart
    placements: PlacementsPart
    national: NationalPart
    alliance: AlliancePart
    money: MoneyPart
    records: RecordsPart

    @model_validator(mode="after")
    def _mixes_exist(self) -> WorldSettings:
        unknown = sorted({*self.areas.mix.values(), self.areas.usual_mix} - set(self.mix))
        if unknown:
            raise ValueError(f"no mix is called {', '.join(unknown)}; there are {', '.join(self.mix)}")
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content; layout and comments of the file do not matter."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def changed(self, **sections: dict[str, Any]) -> WorldSettings:
        """The same settings with some entries of some sections replaced, validated anew.

        >>> load_settings("settings.toml").changed(world={"scale": 0.1})  # doctest: +SKIP
        """
        content = self.model_dump()
        for section, entries in sections.items():
            content[section] = {**content[section], **entries}
        return _validated(content, where="settings")

    def without_alliance(self) -> WorldSettings:
        """The same world with an alliance that changes nothing and costs nothing: the null case."""
        factors = ("rehab_factor", "acute_stay_factor", "entry_factor", "readmission_factor", "discharge_factor")
        off: dict[str, float] = dict.fromkeys(factors, 1.0) | {"enrol_a_year": 0.0}
        return self.changed(
            alliance=off | {"out_of_area_share": self.hospital.rehab_out_of_area}, money={"treated_price_change": 0.0}
        )


def load_settings(path: Path | str) -> WorldSettings:
    """Read and validate a TOML file of settings.

    A file that begins with `like = "other.toml"` holds only the entries in which it differs from that file beside it.

    Raises
    ------
    ParameterError
        With every fault at once: no such file, not TOML, unknown key (and the nearest known one),
        missing key, value of the wrong type or out of range, contradiction between entries.
    """
    path = Path(path)
    content = _read(path)
    base = content.pop("like", None)
    if base is not None:
        other = _read(path.parent / str(base))
        for section, entries in content.items():
            known = isinstance(entries, dict) and isinstance(other.get(section), dict)
            other[section] = {**other[section], **entries} if known else entries
        content = other
    return _validated(content, where=path.name)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ParameterError(Fault(str(path), "there is no such file", next_step="Give the path of a TOML file."))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(Fault(path.name, f"this is not TOML in UTF-8 ({error})")) from None


def _validated(content: dict[str, Any], *, where: str) -> WorldSettings:
    try:
        return WorldSettings.model_validate(content)
    except ValidationError as error:
        raise ParameterError([_fault(item, where) for item in error.errors()]) from None


def _fault(item: dict[str, Any], where: str) -> Fault:
    place = ", ".join([where, ".".join(map(str, item["loc"]))] if item["loc"] else [where])
    if item["type"] == "extra_forbidden":
        allowed = _known_keys(item["loc"][:-1])
        hint = suggest_name(str(item["loc"][-1]), allowed)
        return Fault(place, "unknown key", allowed=", ".join(allowed), next_step=hint)
    if item["type"] == "missing":
        return Fault(place, "this key is missing", next_step="Add it.")
    got = item.get("input")
    shown = repr(got) if isinstance(got, str | int | float | bool | dt.date) else ""
    return Fault(place, item["msg"].removeprefix("Value error, "), got=shown)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = WorldSettings
    for step in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(step)].annotation
        else:
            model = get_args(model)[-1]
    return list(model.model_fields)
