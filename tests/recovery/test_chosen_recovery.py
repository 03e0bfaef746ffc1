"""Whether the difference in changes covers its truth when people who are worse are asked less often, and when not.

As in the synthetic world, a person's state varies around 0; satisfaction falls with it, and the odds of having no
record rise with it. The truth is the difference among everybody, asked or not.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evalkit.analysis.chosen import estimate_chosen
from evalkit.analysis.study import open_study
from evalkit.core.result import Results
from evalkit.disclose.chosen import FourShares
from evalkit.estimators.people.recorded_change import RecordedChange, compute_recorded_change

ROOT = Path(__file__).parents[2]
WORLDS = 300
TREATED, OTHERS = 230, 720
LEVEL = 0.95
EFFECT = 0.08
# A share of worlds in which an interval holds the truth, less three Monte Carlo errors.
LEAST = LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / WORLDS)


def draw(
    rng: np.random.Generator, *, effect: float, asked_less_after: float = 0.0, fewer: float = 0.5
) -> tuple[RecordedChange, float]:
    """One world, and the difference among all of its people had everybody been asked."""
    n = TREATED + OTHERS
    treated = np.arange(n) < TREATED
    state = rng.standard_normal((n, 1)) * 0.7 + rng.standard_normal((n, 2)) * 0.7
    chance = 1 / (1 + np.exp(-(0.2 - 0.8 * state)))
    chance[treated, 1] = np.clip(chance[treated, 1] + effect, 0, 1)
    had = (rng.random((n, 2)) < chance).astype(float)
    odds = 0.35 / 0.65 * np.exp(0.5 * state)
    # What is added in the service area afterwards: those who are worse are hardly asked any more.
    odds[treated, 1] *= np.exp(asked_less_after * (fewer + state[treated, 1]))
    recorded = rng.random((n, 2)) >= odds / (1 + odds)
    change = np.array([np.diff(chance[g].mean(axis=0))[0] for g in (treated, ~treated)])
    asked = np.ones((n, 2), dtype=bool)
    return compute_recorded_change(np.where(recorded, had, np.nan), asked, treated), float(change[0] - change[1])


def covered(found: RecordedChange, truth: float) -> tuple[bool, bool]:
    """Whether the interval holds the truth, and whether the bounds do."""
    low, high = found.observed.interval(LEVEL)
    worst = found.scenarios["least"].interval(LEVEL)[0], found.scenarios["most"].interval(LEVEL)[1]
    return low <= truth <= high, worst[0] <= truth <= worst[1]


@pytest.mark.parametrize("effect", [0.0, EFFECT])
def test_missing_alike_on_both_sides_leaves_the_interval_right(effect):
    rng = np.random.default_rng(11)
    worlds = [draw(rng, effect=effect) for _ in range(WORLDS)]
    held = np.array([covered(found, truth) for found, truth in worlds])
    assert held[:, 0].mean() >= LEAST
    assert held[:, 1].all()
    off = np.mean([found.observed.value - truth for found, truth in worlds])
    assert abs(off) < 0.01
    # The interval is not right by being wide: its error is the spread over worlds.
    spread = np.std([found.observed.value - truth for found, truth in worlds], ddof=1)
    assert np.mean([found.observed.se for found, _ in worlds]) == pytest.approx(spread, rel=0.15)


def test_what_is_released_holds_the_truth_as_often():
    """Ends worked out from rounded counts, as the gate does: rounding is part of the error, years are independent."""
    rng = np.random.default_rng(14)
    held = []
    for _ in range(WORLDS):
        found, truth = draw(rng, effect=EFFECT)
        had, answered = (5 * np.floor(n.ravel() / 5 + 0.5) for n in (found.had, found.answered))
        told = FourShares(list(np.round(had / answered, 3)), list(answered))
        half = told.error(5) * stats.t.ppf(0.5 + LEVEL / 2, answered.min() - 1)
        held.append(abs(told.value - truth) <= half)
    assert LEAST <= np.mean(held) < 1


def test_where_one_side_stops_asking_those_who_are_worse_the_interval_misleads_and_the_bounds_do_not():
    rng = np.random.default_rng(12)
    worlds = [draw(rng, effect=0.0, asked_less_after=1.5) for _ in range(WORLDS)]
    held = np.array([covered(found, truth) for found, truth in worlds])
    assert held[:, 0].mean() < 0.85
    assert held[:, 1].all()
    assert fallen_apart(worlds) < -0.1  # so that the check `recording_alike` fails, and reports say so


def test_where_it_asks_as_many_but_others_no_check_sees_it_and_the_bounds_hold_all_the_same():
    rng = np.random.default_rng(13)
    worlds = [draw(rng, effect=0.0, asked_less_after=2.0, fewer=-0.25) for _ in range(WORLDS)]
    held = np.array([covered(found, truth) for found, truth in worlds])
    assert held[:, 0].mean() < 0.91
    assert held[:, 1].all()
    assert abs(fallen_apart(worlds)) < 0.03


def fallen_apart(worlds: list[tuple[RecordedChange, float]]) -> float:
    """How much more the share recorded changed in the service area than elsewhere, on average."""
    recorded = np.mean([found.recorded for found, _ in worlds], axis=0)
    return float((recorded[:, 1] - recorded[:, 0]) @ [1, -1])


def test_in_the_synthetic_world_the_service_changes_none_of_them():
    study = open_study(ROOT / "protocols" / "ipsa.toml", ROOT / "data" / "synthetic" / "ipsa")
    rows = Results.concat(estimate_chosen(study)).table("chosen_change").query("column == 'difference'")
    told = rows[rows["status"] == "shown"]
    assert len(told) == 6
    assert (told["lower"] < 0).all()
    assert (told["upper"] > 0).all()
