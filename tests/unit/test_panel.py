"""Panels refuse what no estimator could use, all faults at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import ParameterError


def frame() -> pd.DataFrame:
    rows = [(u, t, 5.0, 10.0, 3.0 if u == "a" else np.nan) for u in "abc" for t in range(1, 6)]
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
