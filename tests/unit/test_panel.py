"""Panels refuse what no estimator could use, all faults at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import ParameterError


def frame() -> pd.DataFrame:
    rows = [(u, t, 5.0 + t, 10.0, 3.0 if u == "a" else np.nan) for u in "abc" for t in range(1, 6)]
    return pd.DataFrame(rows, columns=["area", "year", "events", "time", "adopted"])


def build(df: pd.DataFrame) -> Panel:
    return Panel.from_frame(df, unit="area", period="year", outcome="events", adoption="adopted", denominator="time")


def test_shapes_and_treated():
    panel = build(frame())
    assert panel.outcome.shape == panel.denominator.shape == (3, 5)
    assert panel.treated.tolist() == [True, False, False]
    assert panel.between(2, 5).periods.tolist() == [2, 3, 4]
    assert panel.only(("a", "c")).units.tolist() == ["a", "c"]


def test_row_order_does_not_matter():
    shuffled = frame().sample(frac=1, random_state=1)
    assert (build(shuffled).outcome == build(frame()).outcome).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop(index=3), "not balanced"),
        (lambda d: pd.concat([d, d.iloc[[0]]]), "more than once"),
        (lambda d: d.assign(adopted=np.where(d.year == 2, 9.0, d.adopted)), "adoption changes"),
        (lambda d: d.assign(events=np.where(d.year == 2, -1.0, d.events)), "negative"),
        (lambda d: d.assign(events=np.where(d.year == 2, np.nan, d.events)), "missing"),
        (lambda d: d.assign(time=0.0), "not above 0"),
        (lambda d: d.assign(adopted=np.nan), "no unit is treated"),
        (lambda d: d.assign(adopted=3.0), "every unit is treated"),
    ],
)
def test_bad_panels_are_refused(change, message):
    with pytest.raises(ParameterError, match=message):
        build(change(frame()))


def test_a_misspelt_column_is_named_with_its_neighbour():
    with pytest.raises(ParameterError, match='Did you mean "events"'):
        Panel.from_frame(frame(), unit="area", period="year", outcome="event", adoption="adopted")


def test_all_faults_come_at_once():
    bad = frame().assign(events=-1.0, time=0.0)
    with pytest.raises(ParameterError) as caught:
        build(bad)
    assert len(caught.value.faults) == 2


def test_gaussian_outcomes_may_be_negative_and_weights_are_kept():
    rows = frame().assign(events=lambda d: d.events - 8, w=2.0)
    panel = Panel.from_frame(rows, unit="area", period="year", outcome="events", adoption="adopted", weights="w")
    assert panel.values.min() < 0
    assert (panel.weights == 2).all()
    assert (panel.only(("a", "b")).weights.shape) == (2, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[d.year != 3], "leave gaps"),
        (lambda d: d.assign(year="Q" + d.year.astype(str)), "neither dates nor numbers"),
        (lambda d: d.assign(adopted=d.adopted - 2), "at or before the first period"),
        (lambda d: d.assign(adopted=d.adopted + 9), "after the last period"),
        (lambda d: d.assign(events=4.0), "the same in every unit-period"),
        (lambda d: d.assign(events=np.inf), "missing or infinite"),
        (lambda d: d.assign(x=1.0), "is constant"),
        (lambda d: d.assign(x=np.arange(15.0), z=np.arange(15.0) * 3 + 1), '"z" is constant, or follows'),
        (lambda d: d.assign(x=np.nan), 'covariate "x" holds missing'),
        (lambda d: d.assign(w=0.0), '"w" holds values'),
    ],
)
def test_what_no_design_could_use_is_named(change, message):
    df = change(frame())
    extra = tuple(c for c in ("x", "z") if c in df)
    with pytest.raises(ParameterError, match=message):
        Panel.from_frame(
            df, unit="area", period="year", outcome="events", adoption="adopted", denominator="time",
            covariates=extra, weights="w" if "w" in df else None,
        )  # fmt: skip


def test_quarters_are_consecutive_though_unequal_in_days():
    starts = pd.date_range("2012-01-01", periods=9, freq="QS")
    rows = pd.DataFrame(
        [(u, s, i + len(u), starts[4] if u == "a" else pd.NaT) for u in ("a", "bb") for i, s in enumerate(starts)]
    )
    rows.columns = ["area", "start", "events", "adopted"]
    panel = Panel.from_frame(rows, unit="area", period="start", outcome="events", adoption="adopted")
    assert panel.consecutive
    left = panel.without(np.datetime64("2012-07-01"), np.datetime64("2012-10-01"))
    assert len(left.periods) == 8
    assert not left.consecutive
