"""Options of clone-censor-weight that follow from the protocol of a target trial."""

from __future__ import annotations

from dataclasses import replace

from evalkit.core.faults import refuse
from evalkit.core.target_trial import TargetTrial, find_trial_faults
from evalkit.estimators.people.clone_people import CloneOptions, check_options


def derive_clone_options(trial: TargetTrial, *, base: CloneOptions | None = None) -> CloneOptions:
    """Options of clone-censor-weight that follow from the protocol: grace period, horizon and contrast.

    What a protocol does not say (width of intervals, replicates) is taken from `base`. Raises ParameterError as
    `core.target_trial.build_trial_table` for a protocol that is not complete.
    """
    refuse(find_trial_faults("target trial", trial))
    days = {"grace_days": float(trial.grace_period_days), "horizon_days": float(trial.follow_up_days)}
    options = replace(base or CloneOptions(**days), contrast=trial.causal_contrast, **days)
    check_options(options)
    return options
