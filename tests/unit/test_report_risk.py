"""What both reports say of risk models follows the numbers, whichever way they fall, and where there are none."""

from __future__ import annotations

import math
import re
from functools import cache

import pytest

from evalkit.disclose import Release
from evalkit.report import academic_risk, display, peer_risk, risk_tables, risk_words
from evalkit.report.phrases import sentences_of
from evalkit.report.value_facts import Amount
from tests.report_factory import make_release
from tests.risk_factory import WORLDS, World, every_table, risk_protocol, risk_release
from tests.unit.test_report_value import Shown, everything, grade, said, texts
from tests.unit.test_words import BANNED

TABLES = every_table()
PEER_TABLES = ("risk_performance", "risk_threshold", "risk_net_benefit", "risk_groups", "risk_group_threshold",
               "risk_group_gap", "risk_size", "risk_instability", "risk_drift")  # fmt: skip
LEFT_OUT = [*((w, d) for w in WORLDS for d in ((), TABLES)), *(("unfair", (name,)) for name in PEER_TABLES)]
JARGON = re.compile(
    r"AUROC|calibrat|net benefit|threshold|discriminat|slope|sensitivity|false positive|predict|flagged|interval|"
    r"confidence|bootstrap|optimis|baseline|cohort|probab|validat|odds|patient|ratio\b|statistic",
    re.IGNORECASE,
)
BUILDERS = [
    risk_tables.sample_table, risk_tables.size_table, risk_tables.verdict_table, risk_tables.optimism_table,
    risk_tables.places_table, risk_tables.threshold_table, risk_tables.benefit_table, risk_tables.recalibration_table,
    risk_tables.missing_table, risk_tables.groups_table, risk_tables.group_threshold_table, risk_tables.gap_table,
    risk_tables.terms_table, risk_tables.learning_table, risk_tables.time_table, risk_tables.imputed_table,
    risk_tables.conflict_table,
]  # fmt: skip
NAN = math.nan


@cache
def made(world: World, drop: tuple[str, ...] = (), few: bool = False) -> Release:
    return risk_release(world, drop=drop, few=few)


def shown_by(module: object, found: Release, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Data and metadata of everything shown, by id."""
    seen: Shown = {}

    def keep(data: dict[str, str], *, raw: bool, metadata: dict[str, dict[str, object]]) -> None:
        name = str(metadata["evalkit"]["id"])
        assert name not in seen
        seen[name] = (data, metadata["evalkit"])

    monkeypatch.setattr(display, "display", keep)
    monkeypatch.setattr(display, "_png", lambda figure: b"")  # pictures are looked at in test_figures_risk
    module.show_risk(found)
    return seen


def peer(world: World, monkeypatch: pytest.MonkeyPatch, **options: object) -> Shown:
    return shown_by(peer_risk, made(world, **options), monkeypatch)


def amount(value: float, lower: float, upper: float) -> Amount:
    return Amount(value, lower, upper, "", "", "shown", "")


# ---- the peer report -----------------------------------------------------------------------------


@pytest.mark.parametrize(("world", "drop"), LEFT_OUT)
def test_peers_are_told_in_plain_and_short_sentences(world, drop, monkeypatch) -> None:
    seen = peer(world, monkeypatch, drop=drop)
    lengths = {s: len(s.split()) for s in sentences_of(texts(seen))}
    assert max(lengths.values()) <= 20, max(lengths, key=lengths.get)
    assert sum(lengths.values()) / len(lengths) <= 12
    assert grade(texts(seen)) <= 6  # the sixth grade is eleven years old
    assert BANNED.findall(everything(seen)) == []
    assert JARGON.findall(everything(seen)) == []
    assert "It says **who**, not **why**." in texts(seen)
    assert "must not be used to keep a person in hospital" in texts(seen)


@pytest.mark.parametrize(
    ("world", "told", "never"),
    [("good", "Only a little better than guessing.", "Nobody should use it"),
     ("useless", "We cannot tell if the model is any better than guessing. Nobody should use it.", "Only a little"),
     ("refused", "Too few people is a good reason **not** to make one.", "better than guessing"),
     ("unfair", "It works **less well for some people** than for others.", "too high"),
     ("too_high", "The risks that it gives are **too high**.", "less well for some"),
     ("too_high", "**worse** than giving everybody the same one", "As far as we can tell")],
)  # fmt: skip
def test_the_answer_follows_the_numbers(world, told, never, monkeypatch) -> None:
    answer = said(peer(world, monkeypatch), "text-risk-what")
    assert told in answer
    assert never not in answer


@pytest.mark.parametrize(
    ("auroc", "words"),
    [((0.86, 0.83, 0.89), "Much better than guessing, but still wrong for many."),
     ((0.74, 0.72, 0.76), "Better than guessing, but often wrong."),
     ((0.74, 0.68, 0.8), "It could be a little better or worse than that."),
     ((0.44, 0.4, 0.48), "No. The model did **worse** than guessing."),
     ((0.6, NAN, NAN), "We cannot tell")],
)  # fmt: skip
def test_every_strength_of_a_model_has_its_words(auroc, words, monkeypatch) -> None:
    found = {
        "auroc": amount(*auroc),
        "observed_expected": amount(1.3, 1.1, 1.5),
        "scaled_brier": amount(0.01, -0.1, 0.1),
    }
    monkeypatch.setattr(peer_risk, "read_measure", lambda release, measure: found[measure])
    answer = " ".join(peer_risk.answer(made("good")))
    assert words in answer
    if "better than guessing, but" in answer:
        assert "As far as we can tell, its risks are no better than giving everybody the same one." in answer
        assert "The risks that it gives are **too low**." in answer


def test_right_and_wrong_are_told_of_100_beside_chance(monkeypatch) -> None:
    seen = peer("good", monkeypatch)
    right = said(seen, "text-risk-right")
    assert "Say a team has time for 10 out of every 100 people who leave hospital." in right
    assert "Of 100 people it points at, 37 came back within 3 months. 63 did not. The 37 could be 29 to 45." in right
    assert "By chance it would be about 17." in right
    assert "Of 100 people who came back, it found 21. It missed 79." in right
    assert "By chance it would be about 10." in right
    assert "fig-risk-icons" in seen
    useless = said(peer("useless", monkeypatch), "text-risk-right")
    assert "it found 11. It missed 89. The 11 could be 6 to 15. By chance it would be about 10." in useless


@pytest.mark.parametrize(
    ("found", "words"),
    [({0.1: "helps", 0.2: "open"}, "It can be worth acting on, if help works"),
     ({0.1: "harms", 0.2: "open"}, "can be **worse** than offering help to everybody"),
     ({0.1: "harms", 0.2: "helps"}, "It depends on where the line is drawn."),
     ({0.1: "open"}, "We cannot tell if acting on it is better"),
     ({0.1: "unknown"}, "We do not know if it is worth acting on."), ({}, "We do not know")],
)  # fmt: skip
def test_whether_to_act_follows_the_decision_curve(found, words, monkeypatch) -> None:
    monkeypatch.setattr(peer_risk, "uses", lambda release, model: found)
    assert words in " ".join(peer_risk._use_words(made("good")))


def test_a_group_that_is_served_worse_is_named_with_its_numbers(monkeypatch) -> None:
    groups = said(peer("unfair", monkeypatch), "text-risk-groups")
    assert "**No.** It works less well for some people:" in groups
    assert "**Black people.** Of 100 of them who came back, it found 14 (or 7 to 21)." in groups
    assert "In another group it found 41." in groups
    assert "too low. So they may miss out on help." in groups
    assert "We also looked at these: - Sex. - How poor the area is that people live in." in groups
    fair = said(peer("good", monkeypatch), "text-risk-groups")
    assert "**No.**" not in fair
    assert "That does not show that it is fair." in fair


@pytest.mark.parametrize(
    ("row", "words"),
    [("sex|male", "men"), ("dual_diagnosis|yes", "people with a drug or alcohol problem"), ("area|Lambeth", "people in "
     "Lambeth"), ("age_band|18 to 34", "people aged 18 to 34"), ("deprivation|deciles 6 to 10", "people in better-off "
     "areas"), ("ethnic_group|not recorded", "people whose ethnic group is not written down")],
)  # fmt: skip
def test_levels_are_people(row, words) -> None:
    assert peer_risk.plain_level(row) == words


def test_being_pointed_at_in_vain_more_often_is_told_as_that(monkeypatch) -> None:
    gap = risk_words.GroupGap(
        "sex", ("false_positive_rate",), ("sex|male",), ("sex|female", "sex|male"), any_number=True
    )
    rates = {"sex|male": amount(0.1, 0.08, 0.12), "sex|female": amount(0.05, 0.03, 0.07)}
    monkeypatch.setattr(peer_risk, "read_amount", lambda release, table, row, column: rates[row])
    said_of_men = peer_risk._level_words(made("good"), "sex|male", gap)
    assert "did not come back, it still pointed at 10 (or 8 to 12). In another group it pointed at 5." in said_of_men
    assert "it found" not in said_of_men


def test_where_nobody_looked_nobody_should_think_it_fair(monkeypatch) -> None:
    drop = ("risk_group",)
    assert "nobody should think that it is fair" in said(peer("good", monkeypatch, drop=drop), "text-risk-groups")
    no_gaps = said(peer("unfair", monkeypatch, drop=("risk_group_gap",)), "text-risk-groups")
    assert "For these we have no answer: - Sex. - Ethnic group. - How poor" in no_gaps
    assert "**No.**" not in no_gaps


@pytest.mark.parametrize("world", ["good", "unfair", "useless"])
def test_too_few_people_are_no_numbers(world, monkeypatch) -> None:
    seen = peer(world, monkeypatch, few=True)
    assert "This is not released. Too few people are behind it." in texts(seen)
    assert not [name for name in seen if name.startswith("fig-")]
    assert set(re.findall(r"\d+", texts(seen))) <= {"3"}  # within 3 months


def test_what_the_services_own_people_can_bear_is_said(monkeypatch) -> None:
    assert "They are too few even to adjust one." in said(peer("good", monkeypatch), "text-risk-what")
    for verdict, words in (("recalibrate", "They are enough to adjust one."), ("develop", "There are enough people")):
        monkeypatch.setattr(peer_risk, "verdicts", lambda release, v=verdict: [("service", v, "")])
        assert words in " ".join(peer_risk._own_people(made("good")))


def test_a_model_that_got_old_says_so(monkeypatch) -> None:
    assert "By 2017 its risks had become too high." in said(peer("too_high", monkeypatch), "text-risk-not-for")
    assert "A model gets old" not in said(peer("good", monkeypatch), "text-risk-not-for")


@pytest.mark.parametrize(("days", "words"), [(30, "within a month"), (90, "within 3 months"), (365, "within a year"),
                                             (45, "within 45 days")])  # fmt: skip
def test_horizons_are_told_in_plain_words(days, words, monkeypatch) -> None:
    asked = made("good").protocol.risk_model.model_copy(update={"horizon_days": days})
    monkeypatch.setattr(peer_risk, "plan", lambda release: asked)
    assert peer_risk.when(made("good")) == words


@pytest.mark.parametrize("module", [peer_risk, academic_risk])
def test_without_a_plan_there_is_no_model(module, monkeypatch) -> None:
    found = make_release("none", drop=TABLES, protocol=risk_protocol(risk=False))
    assert list(shown_by(module, found, monkeypatch)) == ["text-no-risk"]


# ---- the academic report -------------------------------------------------------------------------


@pytest.mark.parametrize(("world", "drop"), [*((w, ()) for w in ("good", "refused")), ("good", TABLES)])
def test_referees_are_told_everything_and_what_is_missing(world, drop, monkeypatch) -> None:
    seen = shown_by(academic_risk, made(world, drop=drop), monkeypatch)
    assert not re.search(r"\bnan\b|\binf\b", everything(seen))
    assert "A risk says who is more likely to come back, not why" in texts(seen)
    for data, meta in seen.values():
        if meta["kind"] == "figure":
            assert len(str(meta["alt"]).split()) >= 8
            assert data
    absent = [name for name in seen if name.startswith("text-no-risk-")]
    assert len(absent) == {"good": 18 if drop else 0, "refused": 15}[world]  # parts of the section
    if world == "refused":
        assert "Fewer than 10 events per predictor parameter." in said(seen, "text-risk-reason")


def test_a_reading_follows_the_intervals() -> None:
    words = {w: risk_words.performance_sentences(made(w), "logistic") for w in ("good", "useless", "too_high")}
    assert "the interval runs from weak to fair" in words["good"]
    assert "that it orders people better than chance cannot be told" in words["useless"]
    assert "risks are too high on average" in words["too_high"]
    assert "further from what happened than giving everybody the mean risk" in words["too_high"]
    assert "high risks are too high and low ones too low" in words["useless"]
    assert "intervals do not meet, and the model orders people better" in risk_words.beats_rule(made("good"))
    assert "the intervals meet" in risk_words.beats_rule(made("useless"))


@pytest.mark.parametrize(
    ("ends", "order", "sure"),
    [((0.82, 0.8, 0.84), "good", True), ((0.75, 0.71, 0.79), "fair", True), ((0.75, 0.69, 0.81), "fair", False),
     ((0.6, 0.55, 0.65), "weak", True), ((0.55, 0.5, 0.6), "none", False), ((0.45, 0.41, 0.49), "reversed", True),
     ((NAN, NAN, NAN), "unknown", False)],
)  # fmt: skip
def test_bands_of_discrimination(ends, order, sure) -> None:
    assert risk_words.order_of(amount(*ends)) == (order, sure)
    assert risk_words.order_sentence(amount(*ends)).endswith(".")


def test_thresholds_at_which_a_model_helps_need_both_intervals() -> None:
    found = risk_words.uses(made("good"), "logistic")
    assert found == {0.05: "unknown", 0.1: "open", 0.15: "helps", 0.2: "helps", 0.25: "helps", 0.3: "open"}
    assert "harms" in risk_words.uses(made("useless"), "logistic").values()
    assert "**worse than acting for all or for nobody**" in risk_words.use_sentence(made("useless"), "logistic")
    assert risk_words.uses(made("refused"), "logistic") == {}


def test_gaps_are_clear_only_where_all_levels_at_once_say_so() -> None:
    gaps = {g.characteristic: g for g in risk_words.read_gaps(made("unfair"))}
    assert gaps["ethnic_group"].worse == ("ethnic_group|black",)
    assert gaps["sex"].clear == ()
    assert gaps["sex"].any_number


def test_the_model_told_of_is_one_with_numbers() -> None:
    found = made("good")
    assert risk_words.told_model(found) == "logistic"
    asked = found.protocol.risk_model.model_copy(update={"primary": "own"})
    other = risk_release("good", protocol=found.protocol.model_copy(update={"risk_model": asked}))
    assert risk_words.told_model(other) == "prior_admissions"
    assert risk_words.state_of(other) == "shown"


def test_states_of_a_model() -> None:
    assert [risk_words.state_of(made(w)) for w in ("good", "refused")] == ["shown", "refused"]
    assert risk_words.state_of(made("good", few=True)) == "withheld"
    assert risk_words.state_of(made("good", drop=TABLES)) == "absent"


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda f: f.__name__)
def test_every_cell_is_text_and_tables_stand_when_their_numbers_are_missing(builder) -> None:
    for found in (made("good"), made("refused"), made("good", few=True), made("good", drop=TABLES)):
        table = builder(found)
        assert all(isinstance(cell, str) for column in table.columns for cell in table[column])
        assert not table.map(lambda cell: "nan" in cell.lower().split()).to_numpy().any()
    assert len(builder(made("good")))


def test_numbers_stand_at_the_decimals_of_their_column() -> None:
    table = risk_tables.threshold_table(made("good"))
    assert table.iloc[1]["Pointed at, of 100"] == "10.0 (8.4 to 11.6)"
    assert "0.135 (0.125 to 0.145)" in set(risk_tables.measures_table(made("good"), ("brier",))["Brier score"])
    verdicts = risk_tables.verdict_table(made("good")).set_index("For")["The sample is"]
    assert verdicts["The service's own people"] == "Too small for either"
