"""Tables for a notebook's reader are shown whole."""

from __future__ import annotations

from evalkit.analysis.view import Readable, view_checks
from evalkit.core.result import Check, Results, not_estimable
from tests.panels import ESTIMAND


def test_no_sentence_and_no_row_is_cut_off():
    sentence = "A reason that is a good deal longer than the fifty signs at which pandas cuts a cell off."
    frame = Readable({"reason": [sentence] * 80})
    shown = frame._repr_html_()
    assert shown.count(sentence) == 80
    assert isinstance(frame.head(2), Readable)


def test_checks_of_one_table_or_of_all():
    def estimate(name: str):
        base = not_estimable(ESTIMAND, name, role="sensitivity", reason="none")
        return type(base)(**{**base.__dict__, "checks": (Check(f"of_{name}", True, 1.0, "Fine."),)})

    results = Results.concat([
        Results.from_estimates([estimate("a")]), Results.from_estimates([estimate("b")], table="other")
    ])  # fmt: skip
    assert view_checks(results)["column"].tolist() == ["of_a", "of_b"]
    assert view_checks(results, table="other")["column"].tolist() == ["of_b"]
