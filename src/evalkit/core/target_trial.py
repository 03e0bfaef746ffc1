"""The trial one would have liked to run, written down beside what the data allow instead."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import pandas as pd

from evalkit.core.errors import Fault, ParameterError
from evalkit.core.protocol import Protocol

CausalContrast = Literal["intention_to_treat", "per_protocol"]
_CONTRASTS: dict[str, str] = {
    "intention_to_treat": "Intention to treat: by the strategy that one is assigned to at time zero, whatever follows",
    "per_protocol": "Per protocol: if everybody kept to the strategy that they were assigned to",
}
_DAYS = ("grace_period_days", "follow_up_days")


@dataclass(frozen=True)
class TargetTrial:
    """The protocol of a trial, as wished for or as emulated; each text is one sentence or more.

    Attributes
    ----------
    eligibility : who may enter, by what is known at time zero
    strategies : two or more, each said so that it is clear who follows it
    assignment : how people come to their strategy (in an emulation: given which covariates it is as good as random)
    time_zero : the moment at which people are eligible, are assigned and begin to be followed, all three
    grace_period_days : days within which a strategy may be started; 0 for none
    outcome : what counts, and where it is recorded
    follow_up : from when to when, and what ends it early
    follow_up_days : day at which risks are compared
    causal_contrast : intention_to_treat or per_protocol
    analysis : how the contrast is estimated
    assumptions : what must hold for it; may be empty in a target trial, where randomisation takes their place
    """

    eligibility: str
    strategies: tuple[str, ...]
    assignment: str
    time_zero: str
    grace_period_days: int
    outcome: str
    follow_up: str
    follow_up_days: int
    causal_contrast: CausalContrast
    analysis: str
    assumptions: str = ""


def build_trial_table(trial: TargetTrial, emulation: TargetTrial) -> pd.DataFrame:
    """The seven components of a trial's protocol, target beside emulation, for a report.

    Columns `component`, `target`, `emulation`, in the order of Hernan and Robins; an eighth row, "Identifying
    assumptions", which TARGET asks for, where either protocol names them.

    Raises
    ------
    ParameterError
        A protocol with an empty text, fewer than two strategies, days that are negative, a grace period as long as
        the follow-up, an unknown contrast; or an emulation without the target's number of strategies.

    References
    ----------
    Hernan and Robins 2016, American J Epidemiology 183:758 (table 1); Cashin et al. 2025, JAMA (TARGET statement,
    doi 10.1001/jama.2025.13350).
    """
    faults = [*find_trial_faults("target trial", trial), *find_trial_faults("emulation", emulation)]
    if len(trial.strategies) != len(emulation.strategies):
        got = f"{len(trial.strategies)} and {len(emulation.strategies)}"
        faults.append(Fault("strategies", "target trial and emulation must have as many as each other", got))
    if faults:
        raise ParameterError(faults)
    left, right = _components(trial), _components(emulation)
    names = [name for name in left if left[name] or right[name]]
    return pd.DataFrame(
        {
            "component": names,
            "target": [left[name] or "Not needed: ensured by randomisation" for name in names],
            "emulation": [right[name] for name in names],
        }
    )


def derive_trials(protocol: Protocol) -> tuple[TargetTrial, TargetTrial]:
    """The trial that a protocol with a pathway would have liked to run, and what it does instead.

    Raises ParameterError where the protocol describes no pathway.
    """
    spec = protocol.pathway
    if spec is None:
        raise ParameterError(Fault("protocol", "it describes no pathway, so no trial is emulated"))
    population, dates = protocol.population, protocol.dates
    place, others = protocol.areas.treated_label, ", ".join(protocol.areas.comparators)
    start = f"{dates.adoption.day} {dates.adoption:%B %Y}"
    trial = TargetTrial(
        eligibility=f"Aged {population.min_age_years} to {population.max_age_years} on {start}, with a day on a ward "
        f"or in a care home in the {population.eligible_use_days} days before",
        strategies=(f"The area offers {protocol.study.service} from {start} on", "The area goes on as before"),
        assignment="Areas are assigned to a strategy at random; people and staff know which",
        time_zero=f"{start}, when areas are assigned",
        grace_period_days=0,
        outcome="Days in each kind of place, from records of wards, placements and the service",
        follow_up="Until death, a move out of sight or the horizon, whichever comes first",
        follow_up_days=spec.horizon_days,
        causal_contrast="intention_to_treat",
        analysis="Difference in mean days between areas, with errors that count areas",
    )
    emulation = replace(
        trial,
        eligibility=f"{trial.eligibility}; and, as a cohort of its own, the same on "
        f"{dates.baseline_start.day} {dates.baseline_start:%B %Y}",
        strategies=(f"{place}, whether or not the service met a person", f"{others}"),
        assignment="By the area that answered for a person on the day; as good as random is only how days would have "
        "changed, given age, sex, ethnic group, deprivation, diagnosis, dual diagnosis, forensic history and the place "
        "on the first day",
        time_zero=f"{start} (before: {dates.baseline_start.day} {dates.baseline_start:%B %Y})",
        analysis="(Treated after less before) less (comparison after less before), cells weighted to the treated "
        "after; the interval resamples people, not areas",
        assumptions="Parallel change of each state's share among like people; no other change in one area alone; "
        "what fades by itself after a bad year fades alike; the service changes nothing in the other areas; censoring "
        "independent of where people would be; nobody changed area or entered the cohort because of what was to come",
    )
    return trial, emulation


def _components(trial: TargetTrial) -> dict[str, str]:
    strategies = "; ".join(f"({k}) {text.rstrip('.')}" for k, text in enumerate(trial.strategies, 1))
    followed = f"{_stop(trial.time_zero)} {_stop(trial.follow_up)} Compared at {trial.follow_up_days:,} days"
    grace = f". To be started within {trial.grace_period_days:,} days" if trial.grace_period_days else ""
    return {
        "Eligibility criteria": trial.eligibility,
        "Treatment strategies": strategies + grace,
        "Assignment procedures": trial.assignment,
        "Follow-up period": followed,
        "Outcome": trial.outcome,
        "Causal contrast of interest": _CONTRASTS[trial.causal_contrast],
        "Analysis plan": trial.analysis,
        "Identifying assumptions": trial.assumptions,
    }


def _stop(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def find_trial_faults(where: str, trial: TargetTrial) -> list[Fault]:
    """What keeps a protocol from being one; an empty list where nothing does."""
    faults = []
    for field in fields(trial):
        value = getattr(trial, field.name)
        if field.name in (*_DAYS, "strategies", "causal_contrast"):
            continue
        if not isinstance(value, str) or (field.name != "assumptions" and not value.strip()):
            faults.append(Fault(where, f'"{field.name}" says nothing'))
    given = trial.strategies
    if not isinstance(given, tuple) or not all(isinstance(text, str) and text.strip() for text in given):
        faults.append(Fault(where, "strategies must be a tuple of texts", allowed="2 or more, each in words"))
    elif len(set(given)) < 2 or len(set(given)) < len(given):
        faults.append(Fault(where, "a trial compares strategies", f"{len(set(given))}", "2 or more, all different"))
    if trial.causal_contrast not in _CONTRASTS:
        faults.append(Fault(where, "unknown contrast", str(trial.causal_contrast), " or ".join(_CONTRASTS)))
    if not (trial.grace_period_days >= 0 and trial.follow_up_days > 0):
        faults.append(Fault(where, "days must not be negative, and people must be followed for one or more"))
    elif trial.grace_period_days >= trial.follow_up_days:
        got = f"{trial.grace_period_days} and {trial.follow_up_days} days"
        faults.append(Fault(where, "the grace period is as long as the follow-up", got))
    return faults
