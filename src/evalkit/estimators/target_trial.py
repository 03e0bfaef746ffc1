"""The trial one would have liked to run, written down beside what the data allow instead."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import pandas as pd

from evalkit.cohort.frames import refuse
from evalkit.core.errors import Fault
from evalkit.estimators.clone_people import CloneOptions, check_options

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
    refuse([*_trial_faults("target trial", trial), *_trial_faults("emulation", emulation)])
    if len(trial.strategies) != len(emulation.strategies):
        got = f"{len(trial.strategies)} and {len(emulation.strategies)}"
        refuse([Fault("strategies", "target trial and emulation must have as many as each other", got)])
    left, right = _components(trial), _components(emulation)
    names = [name for name in left if left[name] or right[name]]
    return pd.DataFrame(
        {
            "component": names,
            "target": [left[name] or "Not needed: ensured by randomisation" for name in names],
            "emulation": [right[name] for name in names],
        }
    )


def derive_clone_options(trial: TargetTrial, *, base: CloneOptions | None = None) -> CloneOptions:
    """Options of clone-censor-weight that follow from the protocol: grace period, horizon and contrast.

    What a protocol does not say (width of intervals, replicates) is taken from `base`. Raises ParameterError as
    `build_trial_table` for a protocol that is not complete.
    """
    refuse(_trial_faults("target trial", trial))
    days = {"grace_days": float(trial.grace_period_days), "horizon_days": float(trial.follow_up_days)}
    options = replace(base or CloneOptions(**days), contrast=trial.causal_contrast, **days)
    check_options(options)
    return options


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


def _trial_faults(where: str, trial: TargetTrial) -> list[Fault]:
    faults = []
    for field in fields(trial):
        value = getattr(trial, field.name)
        if isinstance(value, str) and field.name not in ("assumptions", "causal_contrast") and not value.strip():
            faults.append(Fault(where, f'"{field.name}" says nothing'))
    if len(trial.strategies) < 2 or not all(text.strip() for text in trial.strategies):
        faults.append(
            Fault(where, "a trial compares strategies", f"{len(trial.strategies)}", "2 or more, each in words")
        )
    if trial.causal_contrast not in _CONTRASTS:
        faults.append(Fault(where, "unknown contrast", str(trial.causal_contrast), " or ".join(_CONTRASTS)))
    if min(getattr(trial, name) for name in _DAYS) < 0 or trial.follow_up_days == 0:
        faults.append(Fault(where, "days must not be negative, and people must be followed for one or more"))
    elif trial.grace_period_days >= trial.follow_up_days:
        got = f"{trial.grace_period_days} and {trial.follow_up_days} days"
        faults.append(Fault(where, "the grace period is as long as the follow-up", got))
    return faults
