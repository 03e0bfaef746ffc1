"""What both reports say of risk models follows the numbers, whichever way they fall, and where there are none."""

from __future__ import annotations

import math
import re
from functools import cache

import pandas as pd
import pytest
from scipy.stats import binom

from evalkit.disclose import Release
from evalkit.report import (
    academic_risk,
    display,
    figures_risk_panels,
    peer_risk,
    peer_risk_groups,
    risk_group_tables,
    risk_group_words,
    risk_tables,
    risk_words,
)
from evalkit.report.phrases import sentences_of
from evalkit.report.value_facts import Amount
from tests.report_factory import make_release
from tests.risk_factory import HORIZON, WORLDS, World, every_table, risk_protocol, risk_release
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
    risk_tables.sample_table, risk_tables.size_table, risk_tables.validation_size_table, risk_tables.optimism_table,
    risk_tables.places_table, risk_tables.threshold_table, risk_tables.benefit_table, risk_tables.recalibration_table,
    risk_tables.missing_table, risk_group_tables.groups_table, risk_group_tables.group_threshold_table,
    risk_group_tables.gap_table, risk_tables.terms_table, risk_tables.time_table,
    risk_tables.imputed_table,
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
    assert "**No.** It works less well for some people." in groups
    count = risk_group_words.count_gaps(made("unfair"))
    assert f"We made {count.looked} comparisons. Where all groups are alike, about 1 in 20 would stand" in groups
    assert f"Here {count.clear} did. Chance alone would seldom give that many." in groups
    assert "**Black people.**" in groups
    assert "It gave the right one the higher risk in 57 (or 52 to 62)." in groups
    assert "So its risks for them are too low, and they may miss out on help." in groups
    assert "We also looked at these: - Sex. - How poor the area is that people live in." in groups
    fair = said(peer("good", monkeypatch), "text-risk-groups")
    assert "**No.**" not in fair
    assert "Here none did." in fair
    assert "stood out:" not in fair
    assert "That does not show that it is fair." in fair


@pytest.mark.parametrize(
    ("row", "words"),
    [("sex|male", "men"), ("dual_diagnosis|yes", "people with a drug or alcohol problem too"),
     ("area|Lambeth", "people in Lambeth"), ("age_band|18 to 34", "people aged 18 to 34"),
     ("deprivation|deciles 6 to 10", "people in less poor areas"),
     ("ethnic_group|not recorded", "people whose ethnic group is not written down")],
)  # fmt: skip
def test_levels_are_people(row, words) -> None:
    assert peer_risk_groups.plain_level(row) == words


def words_of(measure: str, numbers: dict[str, tuple[float, float, float]], monkeypatch) -> str:
    """What peers are told of `sex|male`, worse than `sex|female` in one measure."""
    found = {row: amount(*ends) for row, ends in numbers.items()}
    monkeypatch.setattr(peer_risk_groups, "read_level", lambda release, row, m: found[row])
    return peer_risk_groups.level_line(made("good"), risk_group_words.Worse(measure, "sex|male", "sex|female"))


@pytest.mark.parametrize(
    ("measure", "men", "women", "words"),
    [("false_positive_rate", (0.1, 0.08, 0.12), (0.05, 0.03, 0.07),
      "did not come back, it still pointed at 10 (or 8 to 12). Of 100 women who did not come back, it pointed at 5."),
     ("sensitivity", (0.16, 0.1, 0.26), (0.3, 0.2, 0.4),
      "Of 100 of them who came back, it found 16 (or 10 to 26). Of 100 women who came back, it found 30."),
     ("auroc", (0.5, 0.44, 0.57), (0.69, 0.57, 0.8), "the higher risk in 50 (or 44 to 57). By guessing it would be 50. "
      "For women it was 69."),
     ("observed_expected", (0.7, 0.6, 0.8), (1.0, 0.9, 1.1), "70 (or 60 to 80) did. For women it was 100. So its risks "
      "for them are too high, and they may be watched without need."),
     ("observed_expected", (1.1, 0.9, 1.3), (0.8, 0.7, 1.1), "For women it was 80."),
     ("calibration_slope", (0.4, 0.2, 0.6), (1.0, 0.8, 1.2), "its high risks are too high, and its low ones too low.")],
)  # fmt: skip
def test_only_the_measure_that_stands_out_is_told_of_a_level(measure, men, women, words, monkeypatch) -> None:
    line = words_of(measure, {"sex|male": men, "sex|female": women}, monkeypatch)
    assert line.endswith(words)
    told = {"sensitivity": "it found", "false_positive_rate": "pointed at", "auroc": "guessing",
            "observed_expected": "100 of them would come back", "calibration_slope": "its high risks"}  # fmt: skip
    assert [m for m, text in told.items() if text in line] == [measure]
    assert max(len(sentence.split()) for sentence in sentences_of(line)) <= 20


@pytest.mark.parametrize(
    ("looked", "clear", "verdict"),
    [(0, 0, "unseen"), (14, 0, "none"), (1, 1, "chance"), (2, 1, "chance"), (8, 2, "chance"), (7, 2, "more"),
     (14, 2, "chance"), (14, 3, "more"), (30, 4, "chance"), (30, 5, "more"), (30, 30, "more")],
)  # fmt: skip
def test_more_gaps_than_chance_gives_is_a_binomial_tail_below_one_minus_the_level(looked, clear, verdict) -> None:
    count = risk_group_words.GapCount(looked, clear, 0, 0.95)
    assert count.chance == pytest.approx(float(binom.sf(clear - 1, looked, 0.05)), rel=1e-9)
    assert count.verdict == verdict


def test_gaps_that_chance_can_give_are_told_as_perhaps_chance(monkeypatch) -> None:
    count = risk_group_words.GapCount(14, 2, 16, 0.95)
    for module in (peer_risk_groups, academic_risk):
        monkeypatch.setattr(module, "count_gaps", lambda release: count)
    groups = said(peer("unfair", monkeypatch), "text-risk-groups")
    assert "**We cannot tell.** It may work less well for some people, or this may be chance." in groups
    assert "We made 14 comparisons." in groups
    assert "Here 2 did. Chance alone can give that many." in groups
    assert "It may work **less well for some people**" in said(peer("unfair", monkeypatch), "text-risk-what")
    referees = said(shown_by(academic_risk, made("unfair"), monkeypatch), "text-risk-groups")
    assert "14 gaps were looked at (16 more are withheld or not estimable)" in referees
    assert "with probability 0.15 (binomial, gaps taken as independent), not below 0.05: **this may be chance**" in (
        referees
    )


def test_the_count_is_of_released_gaps_that_the_words_use() -> None:
    rows = made("unfair").table("risk_group_gap")
    mine = rows[rows["column"].isin(risk_group_words.FAIRNESS)]
    count = risk_group_words.count_gaps(made("unfair"))
    assert count.looked == int(mine["lower"].notna().sum())
    assert count.clear == int((mine["lower"] > 0).sum()) >= 3  # no p-value of this world is below 0.05
    assert count.looked + count.hidden == len(mine)
    assert count.level == 0.95


@pytest.mark.parametrize(("p", "clear"), [(0.0, True), (0.04, True), (0.05, False), (0.4, False), (NAN, False)])
def test_what_rounding_hides_of_an_interval_its_test_still_says(p, clear, monkeypatch) -> None:
    monkeypatch.setattr(risk_group_words, "read_amount", lambda *cell: amount(p, NAN, NAN))
    for lower in (0.0, 0.01):
        gap = pd.Series({"row": "sex", "column": "auroc", "lower": lower, "level": 0.95})
        assert risk_group_words._is_clear(made("good"), gap) is (clear or lower > 0)


def test_no_level_is_told_by_yes_or_no_alone() -> None:
    assert risk_group_words.level_words("dual_diagnosis|yes", "yes") == "With dual diagnosis"
    assert risk_group_words.group_words("dual_diagnosis|no", "no") == "Without dual diagnosis"
    assert risk_group_words.group_words("deprivation|not recorded") == "Deprivation not recorded"
    assert risk_group_words.group_words("ethnic_group|black", "black") == "Ethnic group: Black"
    assert risk_group_words.group_words("sex|male", "male") == "Sex: male"
    for row in ("dual_diagnosis|yes", "dual_diagnosis|no", "carer|yes", "carer|no"):
        assert peer_risk_groups.plain_level(row).startswith("people with")


@pytest.mark.parametrize(
    ("own", "rule", "benefit", "found"),
    [((0.7, 0.68, 0.72), (0.6, 0.58, 0.62), (0.0, 0.0), "better"), ((0.6, 0.55, 0.65), (0.58, 0.53, 0.63), (0.0, 0.0),
     "alike"), ((0.6, 0.55, 0.65), (0.58, 0.53, 0.63), (0.1, 0.0), "better"), ((0.5, 0.48, 0.52), (0.6, 0.58, 0.62),
     (0.0, 0.0), "worse"), ((0.7, 0.68, 0.72), (0.6, 0.58, 0.62), (-0.1, 0.0), "mixed"),
     ((0.7, NAN, NAN), (0.6, 0.58, 0.62), (0.1, 0.1), "unknown")],
)  # fmt: skip
def test_a_model_is_better_than_counting_only_where_intervals_do_not_meet(
    own, rule, benefit, found, monkeypatch
) -> None:
    aurocs = {"logistic": amount(*own), "prior_admissions": amount(*rule)}
    monkeypatch.setattr(risk_words, "read_measure", lambda release, m, *, model="logistic": aurocs[model])
    shifts = dict(zip(("0.1", "0.2"), benefit, strict=True))

    def read(release: Release, table: str, row: str, column: str) -> Amount:
        model, _, at = row.partition("|")
        by = shifts.get(at, 0.0) if model == "logistic" else 0.0
        return amount(by, by - 0.01, by + 0.01)

    monkeypatch.setattr(risk_words, "read_amount", read)
    assert risk_words.beside_rule(made("good")) == found
    words = peer_risk._BESIDE[found]
    assert max(len(s.split()) for s in sentences_of(words)) <= 20
    assert JARGON.findall(words) == []


def test_peers_are_told_whether_counting_earlier_stays_does_as_well(monkeypatch) -> None:
    assert "Yes. We set it beside a simple count" in said(peer("good", monkeypatch), "text-risk-rule")
    useless = peer("useless", monkeypatch)
    assert "No better that we can see." in said(useless, "text-risk-rule")


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
    assert set(re.findall(r"\d+", texts(seen))) <= {"3", "5"}  # within 3 months; what it looks at, by the plan


def test_what_the_services_own_people_can_bear_is_said(monkeypatch) -> None:
    assert "They are too few even to adjust one." in said(peer("good", monkeypatch), "text-risk-what")
    for verdict, words in (("recalibrate", "They are enough to adjust one."), ("develop", "There are enough people")):
        monkeypatch.setattr(peer_risk, "verdicts", lambda release, v=verdict: [("service", v, "")])
        assert words in " ".join(peer_risk._own_people(made("good")))


def test_a_model_that_got_old_says_so(monkeypatch) -> None:
    assert "By 2017 its risks had become too high." in said(peer("too_high", monkeypatch), "text-risk-steady")
    assert "A model gets old" not in texts(peer("good", monkeypatch))


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
        reason = said(seen, "text-risk-reason")
        assert reason.count("Fewer than 10 events per predictor parameter.") == 1
        assert reason.count("Not built:") == 2  # by the sample, and by the events
        assert "(30 and 90 days)" in reason or "(90 and 30 days)" in reason


def test_a_reading_follows_the_intervals() -> None:
    words = {w: risk_words.performance_sentences(made(w), "logistic") for w in ("good", "useless", "too_high")}
    assert "the interval runs from weak to fair" in words["good"]
    assert "that it orders people better than chance cannot be told" in words["useless"]
    assert "risks are too high on average" in words["too_high"]
    assert "further from what happened than giving everybody the mean risk" in words["too_high"]
    assert "high risks are too high and low ones too low" in words["useless"]
    assert "do not meet; by net benefit they meet at all of" in risk_words.beats_rule(made("good"))
    assert "where intervals do not meet, the model does better" in risk_words.beats_rule(made("good"))
    assert "that the model is better than the rule is not shown" in risk_words.beats_rule(made("useless"))


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
    gaps = {g.characteristic: g for g in risk_group_words.read_gaps(made("unfair"))}
    assert {w.row for w in gaps["ethnic_group"].worse} == {"ethnic_group|black"}
    assert [w.measure for w in gaps["ethnic_group"].worse] == list(gaps["ethnic_group"].clear)
    assert gaps["sex"].clear == ()
    assert "auroc" in gaps["sex"].looked


def test_the_level_named_is_that_whose_interval_stands_apart_not_the_one_least_known(monkeypatch) -> None:
    numbers = {"e|few": amount(0.45, 0.2, 0.7), "e|many": amount(0.52, 0.5, 0.54), "e|best": amount(0.7, 0.68, 0.72)}
    monkeypatch.setattr(risk_group_words, "read_level", lambda release, row, measure: numbers[row])
    found = risk_group_words._find_worse(made("good"), tuple(numbers), "auroc")
    assert (found.row, found.beside) == ("e|many", "e|best")
    far = {"e|a": amount(0.6, 0.5, 0.7), "e|b": amount(1.05, 1.0, 1.1)}
    monkeypatch.setattr(risk_group_words, "read_level", lambda release, row, measure: far[row])
    assert risk_group_words._find_worse(made("good"), tuple(far), "observed_expected").row == "e|a"


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
    assert risk_tables.fixed(-0.0002, -0.1, 0.1, 3) == "0.000 (−0.100 to 0.100)"


def test_sample_size_is_a_line_a_model_and_what_is_enough() -> None:
    table = risk_tables.size_table(made("good")).set_index("For")
    assert len(table) == 2
    assert table.loc["The service's own people", "Enough"] == "for neither"
    own = table.loc["Penalised logistic regression"]
    rows = made("good").table("risk_size").set_index(["row", "column"])["value"]
    needed, have = (f"{rows[f'{HORIZON}|logistic|shrinkage', column]:,.0f}" for column in ("needed", "have"))
    assert (own["Shrinkage of at least 0.9"], own["There are"], own["Enough"]) == (needed, have, "to develop")
    assert len(risk_tables.validation_size_table(made("good"))) == 1


def test_a_refused_model_is_not_built_and_its_reason_is_told_once() -> None:
    table = risk_tables.measures_table(made("refused"), ("auroc", "brier"))
    assert set(table["AUROC"]) == {"not built"}
    assert "events" not in table.to_string()


def test_imputed_numbers_stand_beside_those_as_shipped() -> None:
    names = list(risk_tables.imputed_table(made("good"))["Model and data"])
    assert names[:2] == ["Earlier admissions alone: as shipped, later", "Earlier admissions alone: imputed, later"]
    assert "Penalised logistic regression: as shipped, development, corrected" in names


def test_values_of_logged_predictors_are_told_in_days() -> None:
    assert figures_risk_panels.value_words("log_stay_days", "2.2") == "8"
    assert figures_risk_panels.value_words("log_prior_ward_days", "0") == "0"
    assert figures_risk_panels.value_words("log_stay_days", "not recorded") == "not recorded"
    assert figures_risk_panels.value_words("age_years", "33") == "33"
    assert figures_risk_panels.value_words("dual_diagnosis", "True") == "yes"
    table = risk_tables.terms_table(made("good"))
    assert risk_tables.term_words("Drink or drugs: True, against False") == "Drink or drugs: yes, against no"
    assert len(table) == 3
