"""Risk models in the peer report: can anybody tell who will come back to hospital, for whom, and what it is not for.

Every sentence is at most 20 words long and follows from the release alone, whichever way the numbers fall: a model
that is of use, one that tells nothing, one that was refused, and one that serves some people worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import figures_risk
from evalkit.report.display import show_figure, show_text
from evalkit.report.peer_risk_groups import show_for_whom, unfair_words
from evalkit.report.phrases import full_stop, listed, starts_with_capital
from evalkit.report.plain import plain_predictor, plain_reason
from evalkit.report.risk_words import (
    Beside,
    beside_rule,
    order_of,
    plan,
    read_measure,
    refusal_of,
    side_of,
    state_of,
    told_model,
    uses,
    verdicts,
)
from evalkit.report.value_facts import Amount, read_amount

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_MONTH_DAYS = 30


_COUNT_ALONE = "prior_admissions"  # the simplest rule, and the predictor that it is made of


def show_risk(release: Release) -> None:
    """Everything that peers are told of risk models, in order."""
    if not release.protocol.risk_model:
        show_text("The plan did not ask if anybody can tell who will come back to hospital.", id="text-no-risk")
        return
    show_what(release)
    show_looks_at(release)
    state = state_of(release)
    if state == "shown":
        show_right_and_wrong(release)
        show_beside_counting(release)
        show_for_whom(release)
        show_unsteady(release)
    show_not_for(release)


def when(release: Release) -> str:
    """`within 3 months`, `within 45 days`."""
    days = plan(release).horizon_days
    months = days / _MONTH_DAYS
    if days in (365, 366):
        return "within a year"
    if months.is_integer():
        return "within a month" if months == 1 else f"within {months:.0f} months"
    return f"within {days} days"


# ---- what it is, and whether there is one ----------------------------------------------------------


def show_what(release: Release) -> None:
    """What such a model is, whether one was made, and the answer in one sentence."""
    parts = [
        f"Some hospitals use a sum to guess who will come back {when(release)}. The sum is called a risk model. "
        "It looks at what was written down when a person leaves. It compares that with people who left before.",
        *_in_place_of(release),
        f"**The answer.** {' '.join(answer(release))}",
        *_own_people(release),
    ]
    show_text("\n\n".join(parts), id="text-risk-what")


def _in_place_of(release: Release) -> list[str]:
    """That the planned model could not be made and another is told of, where that is so."""
    if state_of(release) != "shown" or told_model(release) == plan(release).primary:
        return []
    other = "a bare count of earlier stays" if told_model(release) == _COUNT_ALONE else "another one"
    few = any(who == plan(release).primary and said in ("refuse", "recalibrate") for who, said, _ in verdicts(release))
    why = " Too few people came back to learn from." if few else ""
    return [f"The model that was planned could not be made.{why} So this part tells of {other}."]


def answer(release: Release) -> list[str]:
    """Whether anybody can tell, in two or three sentences."""
    state = state_of(release)
    if state == "absent":
        return ["We did not test a model here. So we cannot say."]
    if state == "withheld":
        return ["This is not released. Too few people are behind it."]
    if state == "refused":
        return _refusal(release)
    order, sure = order_of(read_measure(release, "auroc"))
    if order == "reversed":
        return ["No. The model did **worse** than guessing. Nobody should use it."]
    if order == "none":
        return ["We cannot tell if the model is any better than guessing. Nobody should use it."]
    lead = {"weak": "Only a little better than guessing.", "fair": "Better than guessing, but often wrong.",
            "good": "Much better than guessing, but still wrong for many."}[order]  # fmt: skip
    doubt = [] if sure else ["It could be a little better or worse than that."]
    beside = {"alike": ["Just counting earlier stays does as well, as far as we can see."],
              "worse": ["Just counting earlier stays does **better**."]}.get(beside_rule(release), [])  # fmt: skip
    return [lead, *doubt, *beside, *_no_skill(release), *_wrong_level(release), *unfair_words(release)]


def _refusal(release: Release) -> list[str]:
    """Too few people is a reason not to build a model; any other reason is told as it is."""
    reason = refusal_of(release)
    judged = any(v in ("refuse", "recalibrate") and who == told_model(release) for who, v, _ in verdicts(release))
    few = judged or "fewer than" in reason.lower() or "too few" in reason.lower()
    if few:
        return [
            "No model was made. Too few people came back for us to learn from.",
            "Too few people is a good reason **not** to make one. Its answers would be luck, and could harm people.",
        ]
    return ["No model was made.", full_stop(plain_reason(reason))]


def _own_people(release: Release) -> list[str]:
    """What the service's own people can bear, where that was asked."""
    found = {who: verdict for who, verdict, _ in verdicts(release)}
    verdict = found.get("service", "")
    if _in_place_of(release):
        return []
    if verdict == "refuse":
        return [
            "The people of this service alone are too few to make a model from. They are too few even to adjust one."
        ]
    if verdict == "recalibrate":
        return ["The people of this service alone are too few to make a model from. They are enough to adjust one."]
    return ["There are enough people in this service to make one from."] if verdict == "develop" else []


def _no_skill(release: Release) -> list[str]:
    """That the risks are no nearer to what happened than one risk for everybody, where that is so."""
    return {
        "below": ["The risks that it gives are **worse** than giving everybody the same one."],
        "open": ["As far as we can tell, its risks are no better than giving everybody the same one."],
    }.get(side_of(read_measure(release, "scaled_brier"), 0.0), [])  # fmt: skip


def _wrong_level(release: Release) -> list[str]:
    side = side_of(read_measure(release, "observed_expected"), 1.0)
    if side == "below":
        return ["The risks that it gives are **too high**. Fewer people came back than it said."]
    if side == "above":
        return ["The risks that it gives are **too low**. More people came back than it said."]
    return []


# ---- what it looks at ------------------------------------------------------------------------------


def show_looks_at(release: Release) -> None:
    """All that the model knows of a person, and what of it counts, by how much worse it gets without it."""
    bare = told_model(release) == _COUNT_ALONE
    keys = [_COUNT_ALONE] if bare else list(plan(release).predictors)
    things = f"{len(keys)} thing{'' if len(keys) == 1 else 's'}"
    made = state_of(release) == "shown"
    lead = f"It knows {things} about a person." if made else f"The plan named {things} for a model to look at."
    parts = [
        "### What does it look at?",
        f"{lead} {'This was' if len(keys) == 1 else 'They were'} chosen before we saw any result:",
        "\n".join(f"- {starts_with_capital(plain_predictor(key))}." for key in keys),
        "There is nothing else in it: not what a person wants, who helps them, or what their home is like.",
    ]
    if made and not bare:
        parts.append(" ".join(_counts_most(release, keys)))
    show_text("\n\n".join(parts), id="text-risk-looks-at")


def _counts_most(release: Release, keys: list[str]) -> list[str]:
    """What makes the model worse when it is left out, and what makes no difference that we can see."""
    found = {key: read_amount(release, "risk_importance", f"{told_model(release)}|{key}", "auroc_drop") for key in keys}
    known = {key: a for key, a in found.items() if a.has_number}
    if not known:
        return ["We did not work out which of them counts most."]
    clear = [key for key, a in known.items() if a.has_range and a.lower > 0]
    if not clear:
        return ["We cannot tell which of them counts most."]
    first = max(clear, key=lambda key: known[key].value)
    said = [f"**What counts most:** {plain_predictor(first)}."]
    others = [plain_predictor(key) for key in sorted(clear, key=lambda k: -known[k].value) if key != first]
    if others:
        said.append(f"It also gets worse without {'this' if len(others) == 1 else 'these'}: {listed(others)}.")
    if len(clear) < len(known):
        said.append("For the others we cannot see that they make it any better.")
    return [*said, "That something counts does not mean that it is the cause."]


# ---- right and wrong -------------------------------------------------------------------------------


def main_rule(release: Release) -> str:
    """The rule told to peers: the middle share of those released in full, else the middle risk; "" if there is none."""
    rows = release.table("risk_threshold")
    names = [str(r) for r in dict.fromkeys(rows["row"])]
    for kind in ("share|", "risk|"):
        found = [r for r in names if r.startswith(kind) and all(
            read_amount(release, "risk_threshold", r, c).has_number for c in _RULE_COLUMNS)]  # fmt: skip
        if found:
            return sorted(found, key=lambda r: float(r.split("|")[1]))[len(found) // 2]
    return ""


_RULE_COLUMNS = ("came_back_of_100_flagged", "found_of_100")


def show_right_and_wrong(release: Release) -> None:
    """Who it points at, who came back, whom it missed: all of 100 people, with a picture."""
    row = main_rule(release)
    if not row:
        text = "### What it gets right and wrong\n\nHow many people it would find is not released here."
        show_text(text, id="text-risk-right")
        return
    right, found = (read_amount(release, "risk_threshold", row, c) for c in _RULE_COLUMNS)
    parts = [
        "### What it gets right and wrong",
        " ".join(_rule_words(release, row)),
        "\n".join(_lines(release, row, right, found)),
        " ".join(_use_words(release)),
    ]
    show_text("\n\n".join(p for p in parts if p), id="text-risk-right")
    ends = {"right": _ends(right), "found": _ends(found)}
    show_figure(figures_risk.plot_threshold_icons(**ends), id="fig-risk-icons", caption="What it gets right and wrong",
                alt=figures_risk.describe_threshold_icons(**ends))  # fmt: skip


def _ends(amount: Amount) -> tuple[float, float, float]:
    return amount.value / 100, amount.lower / 100, amount.upper / 100


def _rule_words(release: Release, row: str) -> list[str]:
    kind, _, at = row.partition("|")
    if kind == "share":
        return [f"Say a team has time for {round(100 * float(at))} out of every 100 people who leave hospital.",
                "The model points at those with the highest risk."]  # fmt: skip
    lead = f"Say the model points at everybody with a risk of {round(100 * float(at))} or more out of 100."
    pointed = read_amount(release, "risk_threshold", row, "flagged_per_100")
    return [lead, f"That is {round(pointed.value)} of every 100 people."] if pointed.has_number else [lead]


def _lines(release: Release, row: str, right: Amount, found: Amount) -> list[str]:
    """Both ways of 100 people, each beside what picking people by chance would give."""
    pointed = read_amount(release, "risk_threshold", row, "flagged_per_100")
    chance = ["", ""]
    if pointed.has_number and found.value > 0:
        mean = pointed.value * right.value / found.value
        chance = [
            f" By chance it would be about {round(mean)}.",
            f" By chance it would be about {round(pointed.value)}.",
        ]
    yes, hit = round(right.value), round(found.value)
    return [
        f"- Of 100 people it points at, {yes} came back {when(release)}. {100 - yes} did not.{_span(right)}{chance[0]}",
        f"- Of 100 people who came back, it found {hit}. It missed {100 - hit}.{_span(found)}{chance[1]}",
    ]


def _span(amount: Amount) -> str:
    if not amount.has_range:
        return ""
    return f" The {round(amount.value)} could be {round(amount.lower)} to {round(amount.upper)}."


def _use_words(release: Release) -> list[str]:
    """Whether it is worth acting on, by the thresholds of the decision curve."""
    found = list(uses(release, told_model(release)).values())
    if not found or set(found) == {"unknown"}:
        return ["We do not know if it is worth acting on."]
    helps, harms = found.count("helps"), found.count("harms")
    if helps and not harms and _no_skill(release):
        return ["We cannot tell if it is worth acting on."]
    if helps and not harms:
        return ["It can be worth acting on, if help works and does no harm. This does not tell us if it does."]
    if harms and not helps:
        return ["Acting on it can be **worse** than offering help to everybody, or to nobody."]
    if harms:
        return ["Acting on it may be better or **worse** than offering help to everybody.",
                "It depends on where the line is drawn."]  # fmt: skip
    return ["We cannot tell if acting on it is better than offering help to everybody, or to nobody."]


# ---- beside the simplest rule ----------------------------------------------------------------------

_COUNT = "a simple count of how often a person was in hospital before"
_BESIDE: dict[Beside, str] = {
    "alike": f"No better that we can see. We set it beside {_COUNT}. As far as we can see, the count does just as "
             "well. It is easier to check, and to argue with.",
    "worse": f"No. We set it beside {_COUNT}. The count does **better**. So nobody needs the model.",
    "better": f"Yes. We set it beside {_COUNT}. It does better than that.",
    "mixed": f"In some ways yes, in others no. We set it beside {_COUNT}.",
    "own": "It does nothing else. It counts how often a person was in hospital before.",
    "unknown": f"We do not know. We could not set it beside {_COUNT}.",
}  # fmt: skip


def show_beside_counting(release: Release) -> None:
    """Whether it does better than to count earlier stays, which anybody can do."""
    text = f"### Is it better than just counting earlier stays?\n\n{_BESIDE[beside_rule(release)]}"
    show_text(text, id="text-risk-rule")


# ---- how steady it is, and what it is not for ------------------------------------------------------


def show_unsteady(release: Release) -> None:
    """Whether a person's risk would be another with other people to learn from; whether it gets old."""
    said = []
    moved = read_amount(release, "risk_instability", told_model(release), "mape")
    if moved.has_number:
        size = round(100 * moved.value)
        by = f"about {size} in 100" if size else "less than 1 in 100"
        said += ["Say we had other people to learn from. Then the same person would get another risk.",
                 f"On average it would differ by {by}, up or down."]  # fmt: skip
    rows = release.table("risk_drift")
    rows = rows[(rows["column"] == "observed_expected") & rows["value"].notna()]
    if len(rows):
        last = rows.iloc[-1]
        if last["lower"] > 1 or last["upper"] < 1:
            way = "low" if last["lower"] > 1 else "high"
            said.append(f"By {last['row']} its risks had become too {way}. A model gets old and must be checked.")
    if said:
        show_text(f"### How steady is it?\n\n{' '.join(said)}", id="text-risk-steady")


def show_not_for(release: Release) -> None:
    """What a risk is not, and what it must not be used for, whether there is a model or not."""
    lines = [
        "- It says **who**, not **why**. It cannot say what would help.",
        "- It says nothing sure of any one person. It is about people who look alike on paper.",
        "- It must not be used to keep a person in hospital, or to refuse help.",
        "- It must not be used to make rules harder for a person, or to pay for less care.",
        "- People should be told if it is used, and be able to say no.",
        "- It knows only what was written down. What people say themselves counts for more.",
    ]
    ending = [] if state_of(release) == "shown" else ["This goes for any such model, also one made later."]
    show_text("\n\n".join(["### What it must not be used for", "\n".join(lines), *ending]), id="text-risk-not-for")
