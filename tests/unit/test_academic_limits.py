"""Deviations, limitations, balance, placebo sizes and what is held: found in the release, and said as they are."""

from __future__ import annotations

import pytest

from evalkit.analysis.study import HELD as KEPT_BACK
from evalkit.core.result import Results
from evalkit.disclose import Release, load_release
from evalkit.disclose.release import _FROM_THE_GATE
from evalkit.report import academic_checks, academic_limits, display
from evalkit.review.record import Comment, Review
from tests.report_factory import ROOT, make_release


@pytest.fixture
def seen(monkeypatch) -> dict[str, str]:
    found: dict[str, str] = {}
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: found.update(
        {metadata["evalkit"]["id"]: data["text/plain"]}))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def real() -> Release:
    return load_release(ROOT / "reports" / "ipsa")


def with_effects(found: Release, **values: object) -> Release:
    """The release with its first primary estimate changed."""
    frame = found.results.frame
    row = frame.index[(frame["table"] == "effects") & (frame["role"] == "primary")][0]
    for column, value in values.items():
        frame.loc[row, column] = value
    return Release(Results(frame), found.manifest_text, found.protocol, made_by=_FROM_THE_GATE)


def test_what_is_held_in_the_report_is_what_the_analysis_holds() -> None:
    assert set(academic_checks.HELD) == set(KEPT_BACK)


def test_a_planned_estimate_without_a_number_is_a_deviation_with_its_reason() -> None:
    found = make_release("benefit")
    label = found.protocol.outcomes[0].label
    before = academic_limits.build_deviations(found)
    assert not ((before["What"] == label) & (before["Done"] == "no number")).any()
    nan = float("nan")
    refused = with_effects(found, status="refused", value=nan, lower=nan, upper=nan, reason="Too few events.")
    after = academic_limits.build_deviations(refused)
    row = after[(after["What"] == label) & (after["Done"] == "no number")]
    assert len(row) == 1
    assert row["Why"].iloc[0].endswith(".")
    withheld = with_effects(found, status="suppressed", value=nan, lower=nan, upper=nan, reason="withheld")
    assert (academic_limits.build_deviations(withheld)["Done"] == "withheld").sum() == 1


def test_another_level_and_an_outcome_left_out_are_deviations() -> None:
    found = make_release("benefit")
    wide = academic_limits.build_deviations(with_effects(found, level=0.9))
    assert "90.0% interval" in set(wide["Done"])
    none = academic_limits.build_deviations(make_release("benefit", drop=("effects",)))
    assert (none["Done"] == "not in this release").sum() == len(found.protocol.outcomes)


def test_designs_that_gave_no_number_stand_together_by_reason(real) -> None:
    table = academic_limits.build_deviations(real)
    designs = table[table["What"].str.endswith("other designs")]
    assert len(designs)
    assert (designs["Why"] != "").all()
    assert not table.duplicated().any()


def test_new_questions_of_readers_are_told_and_examples_are_not(seen) -> None:
    def asked(name: str, reader: str, *, late: bool) -> Comment:
        return Comment(id=name, report="peer", block="b", kind="question", text="t", reader=reader,
                       status="needs_analysis", after_results=late)  # fmt: skip

    comments = (asked("c1", "peer", late=True), asked("c2", "carer", late=False), asked("c3", "example", late=True))
    academic_limits.show_deviations(make_release("benefit"), Review(comments=comments))
    assert "c1 and c2; 1 of 2 was asked after the results were seen" in seen["text-asked-afterwards"]
    seen.clear()
    academic_limits.show_deviations(make_release("benefit"), Review(comments=comments[2:]))
    assert "text-asked-afterwards" not in seen


def test_each_limitation_is_said_once_and_failed_checks_are_among_them(real, seen) -> None:
    academic_limits.show_limitations(real)
    lines = seen["text-limitations"].splitlines()
    assert len(lines) == len(set(lines))
    assert any("cannot see a shock that hit a whole area" in line for line in lines)
    assert any("not made for this question" in line or "made for care and payment" in line for line in lines)


def test_balance_before_and_after_stands_beside_each_characteristic(real) -> None:
    table = academic_checks.build_balance(real)
    assert len(table.columns) == 1 + len(academic_checks.BALANCES)
    rows = real.table("balance").set_index(["row", "column"])["value"]
    age = table.set_index("Characteristic").loc["Age years", "Discharges: before / after"]
    assert age == f"{rows['age_years', 'unweighted']:.2f} / {rows['age_years', 'weighted']:.2f}"
    assert academic_checks.build_balance(make_release("benefit", drop=("balance",))).empty


def test_placebo_sizes_are_shown_for_each_design(real) -> None:
    table = academic_checks.build_placebo_size(real)
    sizes = [t for t in set(real.results.frame["table"]) if t.startswith("placebo_size.")]
    assert len(table) == sum(len(real.table(t)) for t in sizes)
    assert table["Rejected"].str.fullmatch(r"[\d.]+% \([\d.]+ to [\d.]+\)").all()


def test_every_check_of_the_release_is_in_one_of_the_tables(real) -> None:
    more = academic_checks.build_more_checks(real)
    frame = real.results.frame
    others = frame[(frame["kind"] == "check") & ~frame["table"].isin(["checks.effects", "checks.risk", "risk_size"])]
    assert more["Estimates"].astype(int).sum() == len(others)
