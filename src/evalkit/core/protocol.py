"""The protocol: everything decided before the data were seen, frozen and digested."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from evalkit.core.dates import PeriodName, Window, period_starts
from evalkit.core.errors import Fault, ProtocolError, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.core.outcomes import NAIVE, AreaDesign, Frozen, Outcome, RateOutcome
from evalkit.core.pathway import DAYS_IN_HOSPITAL, INSTITUTION_DAYS, RECURRENCE, AfterDischarge, Pathway, PathwayState

DisclosureProfile = Literal["strict", "acro", "nhse_sde", "opensafely", "mhsds_publication", "hes"]


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


class RiskModel(Frozen):
    """The readmission risk model: developed on discharges before `develop_until`, validated after."""

    horizon_days: Annotated[int, Field(ge=1)] = 90
    develop_until: dt.date
    models: tuple[Literal["logistic", "gradient_boosting"], ...] = ("logistic", "gradient_boosting")
    min_events_per_predictor: Annotated[float, Field(gt=0)] = 10


class Inference(Frozen):
    """How much computing an interval may take."""

    bootstrap_replicates: Annotated[int, Field(ge=100)] = 500
    permutations: Annotated[int, Field(ge=99)] = 999


class Disclosure(Frozen):
    """Which profile guards the way out."""

    profile: DisclosureProfile = "strict"


class Claim(Frozen):
    """Something the service said of itself, to be set beside what is found."""

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    text: str
    source: str
    checked: Literal["seen", "seed", "remembered"]
    outcome: str = ""
    relative_change: float | None = None
    amount_gbp: float | None = None
    note: str = ""


class Protocol(Frozen):
    """All that was decided before the data were seen. Holds no result."""

    study: Study
    exposure: Exposure
    areas: Areas
    dates: Dates
    population: Population
    outcomes: tuple[Outcome, ...] = Field(min_length=1)
    inference: Inference = Inference()
    robustness: Robustness = Robustness()
    risk_model: RiskModel | None = None
    pathway: Pathway | None = None
    after_discharge: AfterDischarge | None = None
    disclosure: Disclosure = Disclosure()
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _references_hold(self) -> Protocol:
        problems = []
        for what, keys in (("outcome", [o.key for o in self.outcomes]), ("claim", [c.key for c in self.claims])):
            problems += [f"{what} key used twice: {k}" for k in sorted({k for k in keys if keys.count(k) > 1})]
        known = [o.key for o in self.outcomes]
        for claim in self.claims:
            if claim.outcome and claim.outcome not in known:
                hint = suggest_name(claim.outcome, known)
                problems.append(f'claim "{claim.key}" names outcome "{claim.outcome}", which is not listed. {hint}')
        for outcome in self.outcomes_of("rate"):
            for other in outcome.displaced_to:
                if other == outcome.key or other not in [o.key for o in self.outcomes_of("rate")]:
                    problems.append(f'outcome "{outcome.key}" is displaced to "{other}", which is not another rate')
        problems += self._people_problems()
        if self.exposure.by == "area" and not (self.areas.comparators or self.areas.donors):
            problems.append("an evaluation by area needs comparators or donors")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _people_problems(self) -> list[str]:
        """What pathways and the time after discharge ask for that the rest of the protocol cannot give."""
        problems, dates = [], self.dates
        if self.pathway:
            span = dt.timedelta(days=self.pathway.horizon_days)
            if dates.adoption is None or self.exposure.by != "area":
                problems.append("pathways need exposure by area and one adoption date")
            elif dates.baseline_start + span > dates.anticipation_start or dates.adoption + span > dates.end:
                problems.append("pathway.horizon_days must fit into the baseline and into the time after adoption")
        if self.after_discharge and self.after_discharge.subgroups_of:
            known = [o.key for o in self.outcomes_of("readmission")]
            if self.after_discharge.subgroups_of not in known:
                problems.append(f"after_discharge.subgroups_of is not a readmission outcome: {', '.join(known)}")
        return problems

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the protocol's content; layout and comments of the file do not matter."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def outcome(self, key: str) -> Outcome:
        """The outcome with this key; an unknown key is a ProtocolError that names the nearest."""
        found = {o.key: o for o in self.outcomes}
        if key not in found:
            raise ProtocolError(
                Fault("outcomes", f'there is no outcome "{key}"', allowed=", ".join(found),
                      next_step=suggest_name(key, list(found)))
            )  # fmt: skip
        return found[key]

    def outcomes_of(self, kind: Literal["readmission", "rate", "cost"]) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.kind == kind)

    def is_planned(self, estimand: str, estimator: str) -> bool:
        """Whether this protocol asks for an estimate; the naive comparison is always asked for."""
        for outcome in self.outcomes:
            if self.estimand(outcome).key == estimand:
                more = self._rate_variants(outcome) if outcome.kind == "rate" else ()
                return estimator in (outcome.estimator, *outcome.sensitivity, *more, NAIVE)
        return estimator in self.people_estimators.get(estimand, ())

    @cached_property
    def people_estimators(self) -> dict[str, tuple[str, ...]]:
        """What else is estimated from people's records: estimators by the key of the estimand."""
        found: dict[str, tuple[str, ...]] = {}
        if self.pathway:
            found |= {self.pathway_estimand(state).key: ("occupancy_did", NAIVE) for state in self.pathway.state_keys}
            found[f"{INSTITUTION_DAYS}.days_per_person"] = self.pathway.designs
            found[f"placebo_{INSTITUTION_DAYS}.days_per_person"] = self.pathway.designs[:1]
        if self.after_discharge:
            found |= {
                f"{RECURRENCE}.events_per_person": ("mean_count_did", NAIVE),
                f"{RECURRENCE}.rate_ratio": ("lwyy_did",),
                f"{DAYS_IN_HOSPITAL}.days_per_person": ("mean_days_did", NAIVE),
            }
            if self.after_discharge.subgroups:
                key = self.estimand(self.outcome(self.after_discharge.subgroups_of)).key
                found |= {f"{name}.{key}": ("shrunken_interaction",) for name in self.after_discharge.subgroups}
        return found

    def pathway_estimand(self, state: str) -> Estimand:
        """Days per person in a state over the horizon from go-live, by what they would have been without it."""
        start = self.dates.after.start
        window = Window(start, start + dt.timedelta(days=self.pathway.horizon_days))
        return Estimand(f"pathway_{state}", "ATT", self.population.label, window, "days_per_person")

    def _rate_variants(self, outcome: RateOutcome) -> tuple[str, ...]:
        """Other designs, and the primary one without or on the neighbours and dated back."""
        endings = ("without_neighbours", "on_neighbours") if self.areas.neighbours else ()
        endings += tuple(f"anticipation.{k}" for k in self.robustness.anticipation_periods)
        return (*self.robustness.designs, *(f"{outcome.estimator}.{ending}" for ending in endings))

    def estimand(self, outcome: Outcome) -> Estimand:
        """The estimand that this protocol attaches to an outcome."""
        window = self.dates.after if self.dates.adoption else self.dates.study
        contrast = "ATO" if outcome.kind == "readmission" else "ATT"
        return Estimand(outcome.key, contrast, self.population.label, window, outcome.scale)


def load_protocol(path: Path | str) -> Protocol:
    """Read and validate a TOML protocol.

    Raises
    ------
    ProtocolError
        With every fault at once: unreadable file, unknown key (and the nearest known one), missing
        key, value of the wrong type or out of range, contradiction between entries.
    """
    path = Path(path)
    return protocol_from_text(_read_text(path), where=path.name)


def protocol_from_text(text: str, *, where: str = "protocol") -> Protocol:
    """Like `load_protocol`, from TOML text."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(
            Fault(where, f"this is not TOML ({error})", next_step="Correct the line it names.")
        ) from None
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        raise ProtocolError([_fault(item, where) for item in error.errors()]) from None


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ProtocolError(Fault(str(path), "there is no such file", next_step="Give the path of a TOML protocol."))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ProtocolError(Fault(path.name, "this is not UTF-8 text", next_step="Save it as UTF-8.")) from None


def _fault(item: dict[str, Any], where: str) -> Fault:
    # Pydantic puts the union's tag into the path of a faulty outcome; a reader of TOML never wrote it.
    steps = [s for i, s in enumerate(item["loc"]) if not (i == 2 and item["loc"][0] == "outcomes" and s in _KINDS)]
    place = ".".join(str(step + 1) if isinstance(step, int) else step for step in steps)
    place = f"{where}, {place}" if place else where
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(item["loc"])
        return Fault(place, "unknown key", allowed=", ".join(allowed), next_step=suggest_name(str(steps[-1]), allowed))
    if item["type"] == "missing":
        return Fault(place, "this key is missing", next_step="Add it.")
    got = item.get("input")
    shown = repr(got) if isinstance(got, str | int | float | bool | dt.date) else ""
    return Fault(place, item["msg"].removeprefix("Value error, "), got=shown)


_KINDS = ("readmission", "rate", "cost")
_OUTCOME_MODELS = dict(zip(_KINDS, get_args(get_args(Outcome)[0]), strict=True))


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    if len(location) == 1:
        return list(Protocol.model_fields)
    if location[0] == "outcomes":
        return list(_OUTCOME_MODELS[str(location[2])].model_fields)
    if location[:2] == ("pathway", "states"):
        return list(PathwayState.model_fields)
    section = {
        "study": Study, "exposure": Exposure, "areas": Areas, "dates": Dates, "population": Population,
        "inference": Inference, "robustness": Robustness, "risk_model": RiskModel, "pathway": Pathway,
        "after_discharge": AfterDischarge, "disclosure": Disclosure, "claims": Claim,
    }[str(location[0])]  # fmt: skip
    return list(section.model_fields)
