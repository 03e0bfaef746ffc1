"""The protocol: everything decided before the data were seen, frozen and digested."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from evalkit.core.chosen import ChosenOutcome, chosen_windows
from evalkit.core.dates import Window
from evalkit.core.economics import Economics, ValuedDays, ValuedScore, WhatIf
from evalkit.core.errors import Fault, ProtocolError, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.core.outcomes import NAIVE, Frozen, Outcome, RateOutcome
from evalkit.core.pathway import DAYS_IN_HOSPITAL, INSTITUTION_DAYS, RECURRENCE, AfterDischarge, Pathway, PathwayState
from evalkit.core.sections import (
    Areas,
    Claim,
    Dates,
    Disclosure,
    Exposure,
    Inference,
    Population,
    RiskModel,
    Robustness,
    Study,
)


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
    economics: Economics | None = None
    chosen: tuple[ChosenOutcome, ...] = ()
    disclosure: Disclosure = Disclosure()
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _references_hold(self) -> Protocol:
        problems = []
        named = {"outcome": self.outcomes, "claim": self.claims, "chosen": self.chosen}
        for what, keys in ((what, [entry.key for entry in entries]) for what, entries in named.items()):
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
        problems += self._money_problems()
        if self.exposure.by == "area" and not (self.areas.comparators or self.areas.donors):
            problems.append("an evaluation by area needs comparators or donors")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _people_problems(self) -> list[str]:
        """What pathways, risk models and the time after discharge ask for that the rest cannot give."""
        problems, dates = [], self.dates
        if self.risk_model and not dates.study_start < self.risk_model.develop_until < dates.end:
            problems.append("risk_model.develop_until must fall after study_start and before end")
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
        problems += self._chosen_problems()
        return problems

    def _chosen_problems(self) -> list[str]:
        """Outcomes that people chose, without a year on either side of one go-live."""
        if not self.chosen:
            return []
        if self.dates.adoption is None or self.exposure.by != "area":
            return ["outcomes that people chose need exposure by area and one adoption date"]
        before, after = self.chosen_windows
        if before.start < self.dates.study_start or after.end > self.dates.end:
            return ["outcomes that people chose need a year of the study before anticipation and after adoption"]
        return []

    @property
    def chosen_windows(self) -> tuple[Window, Window]:
        """The years before and after go-live in which outcomes that people chose are looked for."""
        if self.dates.adoption is None:
            raise ValueError("the protocol names no single adoption date")
        return chosen_windows(adoption=self.dates.adoption, anticipation_days=self.dates.anticipation_days)

    def _money_problems(self) -> list[str]:
        """Costs without a year of prices, and valued days in states that no pathway has."""
        if self.economics is None:
            text = "a cost outcome needs an [economics] section, which says in what year's money costs are"
            return [text] if self.outcomes_of("cost") else []
        known = self.pathway.state_keys if self.pathway else ()
        named = [(v.key, state) for v in self.economics.valued if v.kind == "days" for state in v.states]
        missing = [(key, state) for key, state in named if state not in known]
        hints = [suggest_name(state, known) for _, state in missing]
        return [
            f'economics.valued "{key}" counts days in "{state}", which is no state of [pathway]'
            + (f". {hint}" if hint else "")
            for (key, state), hint in zip(missing, hints, strict=True)
        ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the protocol's content; layout and comments of the file do not matter."""
        # A protocol that was written before there was a section for it says the same as it did.
        content = json.dumps(
            self.model_dump(mode="json", exclude=None if self.chosen else {"chosen"}), sort_keys=True, ensure_ascii=True
        )
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
    # Pydantic puts the union's tag into the path of a faulty entry; a reader of TOML never wrote it.
    tag = {"outcomes": 2, "economics": 3}.get(str(item["loc"][0]) if item["loc"] else "")
    steps = [s for i, s in enumerate(item["loc"]) if not (i == tag and s in (*_KINDS, *_VALUED))]
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
_VALUED = {"days": ValuedDays, "score": ValuedScore}
_OUTCOME_MODELS = dict(zip(_KINDS, get_args(get_args(Outcome)[0]), strict=True))


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    if len(location) == 1:
        return list(Protocol.model_fields)
    if location[0] == "outcomes":
        return list(_OUTCOME_MODELS[str(location[2])].model_fields)
    if location[:2] == ("pathway", "states"):
        return list(PathwayState.model_fields)
    if location[:2] == ("economics", "valued") and len(location) > 3:
        return list(_VALUED[str(location[3])].model_fields)
    if location[:2] == ("economics", "what_if"):
        return list(WhatIf.model_fields)
    section = {
        "study": Study, "exposure": Exposure, "areas": Areas, "dates": Dates, "population": Population,
        "inference": Inference, "robustness": Robustness, "risk_model": RiskModel, "pathway": Pathway,
        "after_discharge": AfterDischarge, "economics": Economics, "chosen": ChosenOutcome,
        "disclosure": Disclosure, "claims": Claim,
    }[str(location[0])]  # fmt: skip
    return list(section.model_fields)
