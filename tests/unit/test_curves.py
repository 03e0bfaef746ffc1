"""Curves, their intervals and readings, tables of who is at risk, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.at_risk import build_at_risk_table
from evalkit.estimators.survival.cumulative_incidence import (
    IncidenceOptions,
    compute_cumulative_incidence,
    estimate_cumulative_incidence,
)
from evalkit.estimators.survival.curves import (
    build_curve_frame,
    compute_curve_at,
    compute_interval,
    compute_quantile,
    compute_risk_at,
    pick_curve,
)
from evalkit.estimators.survival.kaplan_meier import (
    SurvivalOptions,
    compute_censoring_weights,
    compute_survival,
    estimate_survival,
)
from evalkit.estimators.survival.mean_count import MeanCountOptions, compute_mean_count, estimate_mean_count
from evalkit.estimators.survival.restricted_mean import (
    FREE,
    RestrictedMeanOptions,
    compute_restricted_means,
    estimate_restricted_means,
)
from tests.curve_people import draw_competing, draw_recurrent, follow


def few(events: list[int], **columns: object) -> FollowUp:
    days = np.arange(1, len(events) + 1)
    return FollowUp.from_frame(pd.DataFrame({"t": days, "e": events}), exit="t", event="e", **columns)


def on_days(time: np.ndarray, event: np.ndarray) -> FollowUp:
    """Whole days on which something may happen from day 0 on."""
    df = pd.DataFrame({"t": time, "e": event, "from": -1})
    return FollowUp.from_frame(df, entry="from", exit="t", event="e", causes=("readmission", "death"))


def draw_days(n: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = np.stack([rng.geometric(p, n) for p in (0.01, 0.002, 0.004)])
    return times.min(axis=0), np.choose(times.argmin(axis=0), [1, 2, 0])


def test_risk_before_a_day_by_hand():
    # Day 1: of 4 people one is readmitted; day 2: of 3 one dies; day 3: of 2 one leaves; day 4: one readmitted.
    curve = compute_cumulative_incidence(on_days(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 1])))[0]
    found = compute_risk_at(curve, [0, 1, 2, 4, 5])
    assert found["risk"].tolist() == pytest.approx([0.0, 0.0, 1 / 4, 1 / 4, 1 / 4 + 1 / 2])
    assert found.loc[0, ["se", "lower", "upper"]].tolist() == [0.0, 0.0, 0.0]


def test_delta_errors_and_log_log_intervals_of_days():
    """Risk, delta-method error and log(-log) interval written out by definition (Marubini and Valsecchi, 10.12)."""
    time, event = draw_days()
    curve = compute_cumulative_incidence(on_days(time, event), options=IncidenceOptions(errors="delta"))[0]
    days = np.array([30, 90, 365])
    found = compute_risk_at(curve, days)
    u = np.arange(365)
    n = np.array([(time >= day).sum() for day in u], dtype=float)
    d1, d2 = (np.array([((time == day) & (event == k)).sum() for day in u]) for k in (1, 2))
    before = np.concatenate([[1.0], np.cumprod(1 - (d1 + d2) / n)[:-1]])
    risk = np.cumsum(before * d1 / n)
    for place, day in enumerate(days):
        gap, k = risk[day - 1] - risk[:day], slice(0, day)
        variance = (gap**2 * (d1 + d2)[k] / (n * (n - d1 - d2))[k]).sum()
        variance += (before[k] ** 2 * d1[k] * (n - d1)[k] / n[k] ** 3).sum()
        variance -= 2 * (gap * before[k] * d1[k] / n[k] ** 2).sum()
        value, se = risk[day - 1], np.sqrt(variance)
        width = 1.959963984540054 * se / (value * np.log(value))
        expected = [value, se, value ** np.exp(-width), value ** np.exp(width)]
        assert found.loc[place, ["risk", "se", "lower", "upper"]].tolist() == pytest.approx(expected, rel=1e-10)


def test_risk_and_error_equal_statsmodels():
    time, event = draw_days()
    peer = CumIncidenceRight(time, event)
    curve = compute_cumulative_incidence(on_days(time, event))[0]
    found = compute_risk_at(curve, peer.times.astype(int) + 1)
    assert found["risk"].to_numpy() == pytest.approx(peer.cinc[0], abs=1e-12)
    assert found["se"].to_numpy()[20:200] == pytest.approx(peer.cinc_se[0][20:200], rel=0.02)


def test_three_errors_agree_with_many_people():
    follow_up = on_days(*draw_days(4000))
    at = [compute_curve_at(compute_cumulative_incidence(follow_up, options=IncidenceOptions(errors=e))[0], [60, 200])
          for e in ("jackknife", "delta", "gray")]  # fmt: skip
    assert at[1]["se"].to_numpy() == pytest.approx(at[0]["se"].to_numpy(), rel=0.005)
    assert at[2]["se"].to_numpy() == pytest.approx(at[0]["se"].to_numpy(), rel=0.005)


def test_causes_and_survival_add_up_to_one():
    follow_up = follow(draw_competing(), weights="weight")
    curves = compute_cumulative_incidence(follow_up)
    survival = compute_survival(follow_up)[0]
    assert sum(c.value for c in curves) + survival.value == pytest.approx(np.ones(len(survival.time)))


def test_unknown_after_the_last_follow_up():
    curve = compute_survival(few([1, 1, 0, 1, 0]))[0]
    assert compute_curve_at(curve, [5, 5.5])["value"].notna().tolist() == [True, False]
    assert compute_risk_at(curve, [6, 7])["risk"].notna().tolist() == [True, False]
    ended = compute_survival(few([1, 1, 0, 1, 1]))[0]
    found = compute_curve_at(ended, [9])
    assert found["value"].tolist() == [0.0]
    assert found[["se", "lower", "upper"]].isna().all(axis=None)


def test_intervals_by_hand():
    value, se = np.array([0.5]), np.array([0.1])
    z = 1.959963984540054
    plain = compute_interval(value, se, level=0.95, interval="plain", upper_limit=1.0)
    assert [float(x[0]) for x in plain] == pytest.approx([0.5 - z * 0.1, 0.5 + z * 0.1])
    log = compute_interval(value, se, level=0.95, interval="log", upper_limit=0.7)
    assert [float(x[0]) for x in log] == pytest.approx([0.5 * np.exp(-z * 0.2), 0.7])
    both = compute_interval(value, se, level=0.95, interval="log-log", upper_limit=1.0)
    theta = z * 0.1 / (0.5 * np.log(2))
    assert [float(x[0]) for x in both] == pytest.approx([0.5 ** np.exp(theta), 0.5 ** np.exp(-theta)])


def test_median_in_the_middle_of_a_flat_half():
    # Survival is exactly 1/2 from day 2 to day 4: R's quantile.survfit takes the middle.
    curve = compute_survival(few([1, 1, 0, 1]), options=SurvivalOptions())[0]
    assert curve.value.tolist() == pytest.approx([0.75, 0.5, 0.0])
    assert compute_quantile(curve)[0] == 3.0
    assert np.isnan(compute_quantile(compute_survival(few([1, 0, 0, 0]))[0])[0])
    with pytest.raises(ParameterError, match="probability"):
        compute_quantile(curve, 1.0)


def test_errors_chosen_as_r_does():
    df = draw_competing()
    assert compute_survival(follow(df))[0].errors == "greenwood"
    assert compute_survival(follow(df.assign(weight=2.5), weights="weight"))[0].errors == "greenwood"
    assert compute_survival(follow(df, weights="weight"))[0].errors == "jackknife"
    assert compute_survival(follow(df, cluster="cluster"))[0].errors == "jackknife"
    with pytest.raises(ParameterError, match="Greenwood"):
        compute_survival(follow(df, cluster="cluster"), options=SurvivalOptions(errors="greenwood"))
    for errors in ("delta", "gray"):
        with pytest.raises(ParameterError, match=errors):
            compute_cumulative_incidence(follow(df, weights="weight"), options=IncidenceOptions(errors=errors))


def test_mean_count_by_hand():
    # Person 0: admitted on days 1 and 3, dies on 4. Person 1: admitted on day 3. Person 2 dies on day 2.
    df = pd.DataFrame(
        {
            "person": [0, 0, 0, 1, 1, 2],
            "entry": [0, 1, 3, 0, 3, 0],
            "exit": [1, 3, 4, 3, 5, 2],
            "event": [1, 1, 2, 1, 0, 2],
        }
    )
    count = compute_mean_count(follow(df))[0]
    assert dict(zip(count.time, count.value, strict=True)) == pytest.approx(
        {1: 1 / 3, 2: 1 / 3, 3: 1 / 3 + 2 / 3, 4: 1.0}
    )
    alone = compute_mean_count(follow(df), options=MeanCountOptions(terminal="none"))[0]
    assert dict(zip(alone.time, alone.value, strict=True)) == pytest.approx({1: 1 / 3, 3: 1 / 3 + 1})


def test_ghosh_lin_equation_is_near_the_jackknife():
    follow_up = follow(draw_recurrent(), weights="weight")
    exact, theirs = (
        compute_mean_count(follow_up, options=MeanCountOptions(errors=e))[0] for e in ("jackknife", "ghosh_lin")
    )
    assert theirs.value.tolist() == exact.value.tolist()
    early = exact.number_at_risk > 20
    assert theirs.se[early] == pytest.approx(exact.se[early], rel=0.01)
    assert not np.array_equal(theirs.se, exact.se)


def test_restricted_means_add_up_to_the_horizon():
    means = compute_restricted_means(
        follow(draw_competing(), weights="weight"), options=RestrictedMeanOptions(60, start=10)
    )
    assert [m.state for m in means] == [FREE, "readmission", "death"]
    assert sum(m.value for m in means) == pytest.approx(50.0)


def test_at_risk_by_hand():
    df = pd.DataFrame(
        {
            "person": [0, 0, 1, 2, 3],
            "entry": [0, 2, 0, 1, 0],
            "exit": [2, 6, 3, 4, 3],
            "event": [0, 1, 2, 0, 0],
            "weight": [1.0, 1.0, 2.0, 3.0, 4.0],
        }
    )
    found = build_at_risk_table(follow(df, weights="weight"), [0, 2, 3, 5])
    assert found["at_risk"].tolist() == [3, 4, 4, 1]
    assert found["at_risk_weighted"].tolist() == [7.0, 10.0, 10.0, 1.0]
    assert found["at_risk_effective"].tolist() == pytest.approx([49 / 21, 100 / 30, 100 / 30, 1.0])
    assert found["events"].tolist() == [0, 0, 1, 1]
    assert found["events.death"].tolist() == [0, 0, 1, 1]
    assert found["events_weighted.death"].tolist() == [0.0, 0.0, 2.0, 2.0]
    assert found["censored"].tolist() == [0, 0, 1, 2]  # person 0 goes on at day 2
    assert found["censored_weighted"].tolist() == [0.0, 0.0, 4.0, 7.0]
    assert found["entered"].tolist() == [3, 4, 4, 4]
    assert found["stratum"].isna().all()


def test_at_risk_balances_in_each_stratum():
    df = draw_competing()
    found = build_at_risk_table(follow(df, stratum="group"), np.arange(1, 120, 7))
    assert (found["at_risk"] <= found["entered"]).all()
    last = build_at_risk_table(follow(df, stratum="group"), [1e6])
    assert (last["events"] + last["censored"]).tolist() == last["entered"].tolist()
    assert last["entered"].tolist() == df["group"].value_counts().sort_index().tolist()
    with pytest.raises(ParameterError, match="order"):
        build_at_risk_table(follow(df), [5, 5])


def test_weights_of_the_followed_restore_the_risk():
    """The weighted mean of 'readmitted before the horizon' is the Aalen-Johansen risk (Satten and Datta 2001)."""
    time, event = draw_days(2000)
    horizon = 90
    clipped = np.minimum(time, horizon)
    kind = np.where(time < horizon, event, 0)
    follow_up = on_days(clipped, kind)
    weights = compute_censoring_weights(follow_up, horizon=horizon)
    curve = compute_cumulative_incidence(on_days(time, event))[0]
    risk = compute_risk_at(curve, [horizon])["risk"].item()
    assert (weights * (kind == 1)).mean() == pytest.approx(risk, abs=1e-12)
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)
    unseen = compute_censoring_weights(on_days(np.array([5, 30, 30, 12]), np.array([1, 0, 0, 2])), horizon=30)
    assert unseen.tolist() == [1, 1, 1, 1]


def test_censoring_weights_refuse_rows_they_cannot_use():
    df = draw_recurrent(20)
    with pytest.raises(ParameterError, match="several rows"):
        compute_censoring_weights(follow(df), horizon=30)
    # The only one at risk is censored before the others enter.
    late = pd.DataFrame({"person": [0, 1, 2], "entry": [0, 3, 3], "exit": [2, 5, 9], "event": [0, 1, 0]})
    with pytest.raises(NotEstimable, match="before others enter"):
        compute_censoring_weights(follow(late), horizon=6)


@pytest.mark.parametrize(
    "estimate", [estimate_survival, estimate_cumulative_incidence, lambda f: estimate_mean_count(f),
                 lambda f: estimate_restricted_means(f, options=RestrictedMeanOptions(3))]
)  # fmt: skip
def test_few_events_are_refused_without_their_number(estimate):
    with pytest.raises(NotEstimable) as refusal:
        estimate(few([1, 0, 1, 0, 1, 1, 0, 1, 1, 1]))
    assert "fewer than 10" in str(refusal.value)
    assert "7" not in str(refusal.value)


def test_one_thin_stratum_is_named():
    df = draw_competing().assign(group=lambda d: np.where(d["person"] < 5, "tiny", "large"))
    with pytest.raises(NotEstimable, match="too few events in tiny"):
        estimate_survival(follow(df, stratum="group"))


def test_estimates_are_the_curves():
    follow_up = follow(draw_competing(), stratum="group", weights="weight")
    for estimate, compute in (
        (estimate_survival, compute_survival),
        (estimate_cumulative_incidence, compute_cumulative_incidence),
    ):
        pd.testing.assert_frame_equal(build_curve_frame(estimate(follow_up)), build_curve_frame(compute(follow_up)))
    frame = build_curve_frame(estimate_cumulative_incidence(follow_up))
    assert frame.groupby(["stratum", "cause"])["time"].first().eq(0.0).all()
    assert frame.groupby(["stratum", "cause"])["value"].is_monotonic_increasing.all()


@pytest.mark.parametrize("compute", [compute_survival, compute_cumulative_incidence])
def test_people_at_risk_after_their_event_are_refused(compute):
    df = pd.DataFrame({"person": [0, 0, 1], "entry": [0, 2, 0], "exit": [2, 5, 5], "event": [1, 0, 0]})
    with pytest.raises(ParameterError, match="fewer than 10 rows are at risk after"):
        compute(follow(df))


def test_people_at_risk_after_death_are_refused():
    df = pd.DataFrame({"person": [0, 0, 1], "entry": [0, 2, 0], "exit": [2, 5, 5], "event": [2, 1, 0]})
    with pytest.raises(ParameterError, match="another cause"):
        compute_mean_count(follow(df))
    compute_mean_count(follow(df), options=MeanCountOptions(terminal="none"))


def test_horizon_after_follow_up_is_refused():
    with pytest.raises(NotEstimable, match="followed so far"):
        compute_restricted_means(few([1, 1, 0, 1, 0]), options=RestrictedMeanOptions(6))
    ended = compute_restricted_means(few([1, 1, 0, 1, 1]), options=RestrictedMeanOptions(6))
    assert ended[0].value == pytest.approx(1 + 0.8 + 0.6 + 0.6 + 0.3)
    with pytest.raises(ParameterError, match="after the start"):
        compute_restricted_means(few([1, 0]), options=RestrictedMeanOptions(1, start=1))


def test_wrong_options_are_named():
    follow_up = follow(draw_competing(), stratum="group")
    with pytest.raises(ParameterError, match="1 \\(readmission\\), 2 \\(death\\)"):
        compute_survival(follow_up, options=SurvivalOptions(cause=3))
    with pytest.raises(ParameterError, match="level"):
        compute_cumulative_incidence(follow_up, options=IncidenceOptions(level=95))
    with pytest.raises(ParameterError, match="pass 1"):
        compute_mean_count(follow_up, options=MeanCountOptions(interval="log-log"))
    curves = compute_cumulative_incidence(follow_up)
    assert pick_curve(curves, stratum="usual", cause="death") is curves[3]
    with pytest.raises(ParameterError, match="2 curves fit"):
        pick_curve(curves, stratum="usual")
