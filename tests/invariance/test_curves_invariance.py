"""What curves must not care about: who is called what, rows split, weights' unit, time's origin and unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.at_risk import build_at_risk_table
from evalkit.estimators.survival.cumulative_incidence import compute_cumulative_incidence
from evalkit.estimators.survival.curves import Curve
from evalkit.estimators.survival.kaplan_meier import SurvivalOptions, compute_survival
from evalkit.estimators.survival.mean_count import compute_mean_count
from evalkit.estimators.survival.restricted_mean import RestrictedMeanOptions, compute_restricted_means
from tests.curve_people import draw_competing, draw_recurrent, follow

COLUMNS = {"stratum": "group", "weights": "weight", "cluster": "cluster"}


def fit(df: pd.DataFrame, kind: str, **columns: object) -> list[np.ndarray]:
    """Time, value and error of every curve of a kind."""
    follow_up = follow(df, **(COLUMNS | columns))
    return [x for c in curves_of(follow_up, kind) for x in (c.time, c.value, np.nan_to_num(c.se))]


def curves_of(follow_up: FollowUp, kind: str) -> tuple[Curve, ...]:
    return {"km": compute_survival, "aj": compute_cumulative_incidence, "count": compute_mean_count}[kind](follow_up)


def draw(kind: str) -> pd.DataFrame:
    return draw_recurrent() if kind == "count" else draw_competing()


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


def split_rows(df: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Each row cut at a random time inside it."""
    rng = np.random.default_rng(seed)
    cut = df["entry"] + rng.uniform(0.1, 0.9, len(df)) * (df["exit"] - df["entry"])
    return pd.concat([df.assign(exit=cut, event=0), df.assign(entry=cut)])


@pytest.mark.parametrize("kind", ["km", "aj", "count"])
def test_relabelled_shuffled_people(kind):
    df = draw(kind)
    names = {p: f"p{(p * 7919) % 1009:04d}" for p in df["person"].unique()}
    other = df.assign(person=df["person"].map(names), cluster=-df["cluster"]).sample(frac=1, random_state=4)
    assert_same(fit(other, kind), fit(df, kind))


@pytest.mark.parametrize("kind", ["km", "aj", "count"])
@pytest.mark.parametrize("cluster", ["cluster", None])
def test_rows_split_at_any_time(kind, cluster):
    df = draw(kind)
    assert_same(fit(split_rows(df, 6), kind, cluster=cluster), fit(df, kind, cluster=cluster))


def test_greenwood_of_split_rows():
    df = draw_competing()
    one, other = (compute_survival(follow(d))[0] for d in (df, split_rows(df, 7)))
    assert other.errors == "greenwood"
    assert other.se == pytest.approx(one.se, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", ["km", "aj", "count"])
def test_unit_of_the_weights(kind):
    df = draw(kind)
    assert_same(fit(df.assign(weight=df["weight"] * 1e4), kind), fit(df, kind))


@pytest.mark.parametrize("kind", ["km", "aj", "count"])
def test_two_halves_of_a_person_are_the_person(kind):
    """Everybody as two of half the weight in one cluster: the same values and errors."""
    df = draw(kind)
    half = df.assign(weight=df["weight"] / 2)
    twins = pd.concat([half, half.assign(person=half["person"] + 10_000)])
    assert_same(fit(twins, kind), fit(df, kind))


@pytest.mark.parametrize("kind", ["km", "aj", "count"])
def test_whole_weights_are_copies(kind):
    """A weight of k is k people of weight 1 in one cluster."""
    df = draw(kind)
    df["weight"] = 1.0 + df["person"] % 3
    copies = df.loc[df.index.repeat(df["weight"].astype(int))].copy()
    copies["person"] = copies["person"] * 10 + copies.groupby(["person", "entry"]).cumcount()
    assert_same(fit(copies.assign(weight=1.0), kind), fit(df, kind))


@pytest.mark.parametrize("kind", ["km", "aj", "count"])
def test_origin_and_unit_of_time(kind):
    df = draw(kind)
    moved = df.assign(entry=df["entry"] / 8 + 32, exit=df["exit"] / 8 + 32)  # exact in binary: ties stay ties
    found, expected = fit(moved, kind), fit(df, kind)
    expected[::3] = [t / 8 + 32 for t in expected[::3]]
    assert_same(found, expected)


def test_monotone_times_change_no_value():
    df = draw_competing()
    bent = df.assign(entry=np.sqrt(df["entry"]), exit=np.sqrt(df["exit"]))
    for one, other in zip(curves_of(follow(bent), "aj"), curves_of(follow(df), "aj"), strict=True):
        assert one.value == pytest.approx(other.value)
        assert one.se == pytest.approx(other.se)


def test_other_strata_change_nothing():
    df = draw_competing()
    alone = fit(df[df["group"] == "usual"], "aj", cluster=None)
    assert_same(alone, fit(df, "aj", cluster=None)[6:])


def test_swapped_causes_swap_their_curves():
    df = draw_competing()
    swapped = df.assign(event=df["event"].map({0: 0, 1: 2, 2: 1}))
    found, expected = (compute_cumulative_incidence(follow(d, weights="weight")) for d in (swapped, df))
    for one, other in zip(found, reversed(expected), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-14)
        assert one.se == pytest.approx(other.se, abs=1e-14)


def test_one_cause_is_survival_turned_round():
    df = draw_competing()
    df["event"] = (df["event"] == 1).astype(int)
    risk = compute_cumulative_incidence(follow(df, weights="weight"))[0]
    survival = compute_survival(follow(df, weights="weight"), options=SurvivalOptions(errors="jackknife"))[0]
    assert 1 - risk.value == pytest.approx(survival.value)
    left = survival.value > 0
    assert risk.se[left] == pytest.approx(survival.se[left])


def test_restricted_means_scale_with_time_and_not_with_weights():
    df = draw_competing()
    base = compute_restricted_means(follow(df, weights="weight"), options=RestrictedMeanOptions(60, start=4))
    weeks = df.assign(entry=df["entry"] / 8, exit=df["exit"] / 8, weight=df["weight"] * 9)
    other = compute_restricted_means(
        follow(split_rows(weeks, 9), weights="weight"), options=RestrictedMeanOptions(7.5, start=0.5)
    )
    for one, two in zip(base, other, strict=True):
        assert two.value * 8 == pytest.approx(one.value)
        assert two.se * 8 == pytest.approx(one.se)


def test_at_risk_of_split_rows():
    df = draw_recurrent()
    times = [0, 10.5, 50, 120]
    one, other = (build_at_risk_table(follow(d, weights="weight"), times) for d in (df, split_rows(df, 3)))
    pd.testing.assert_frame_equal(one, other)
