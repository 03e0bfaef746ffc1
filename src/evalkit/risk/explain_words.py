"""Words for what a model has learnt: what goes with what, and never what brings what about.

A prediction model is fitted to be right about who comes back, not about what would happen if something were changed;
its coefficients are no effects ("table 2 fallacy", Westreich and Greenland 2013, Am J Epidemiol 177:292).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, refuse

_CAUSAL = re.compile(
    r"\b(caus(e|es|ed|ing|al|ally|ation)|because|due to|owing to|leads? to|leading to|led to|results? in|resulting in"
    r"|resulted in|reduc(e|es|ed|ing)|lowers|lowered|raises|raised|increases|increasing|decreases|decreasing"
    r"|prevent(s|ed|ing)?|protect(s|ing|ive)?|improves|improving|worsens|worsening|affects|affected|affecting"
    r"|effects? (of|on)|impacts? on|impacting|drives|driven by|driver|drivers|triggers|triggering|brings about"
    r"|makes (people|patients|them)|thanks to|contributes to|responsible for)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TermWords:
    """A predictor in words: `label` ("Age"), and for numbers the step `unit` (10) that is meaningful, in `unit_words`.

    `step` is said in their place where they are no number to read ("twice as long", for a logarithm).
    Without a unit, numbers get a round one near their interquartile range. Fails with `ParameterError` for a label
    that speaks of cause, and a unit that is not above 0.
    """

    label: str
    unit: float | None = None
    unit_words: str = ""
    step: str = ""

    def __post_init__(self) -> None:
        faults = find_causal_words([self.label, self.unit_words, self.step])
        if self.unit is not None and not (is_finite(self.unit) and self.unit > 0):
            faults.append(Fault(f'unit of "{self.label}"', "is out of range", str(self.unit), "above 0"))
        refuse(faults)


def find_causal_words(texts: Iterable[str]) -> list[Fault]:
    """A fault for each of `texts` that says, or may be read to say, that something brings something about."""
    faults = []
    for text in texts:
        found = _CAUSAL.search(text)
        if found:
            step = (
                'Name the predictor alone; of a model one can say what "goes with" what ("reason" for a recorded cause)'
            )
            faults.append(Fault(f'label "{text}"', f'"{found.group(0)}" speaks of cause', next_step=step))
    return faults


def refuse_causal_words(texts: Iterable[str]) -> None:
    """Fails with `ParameterError` where one of `texts` speaks of cause; all of them at once."""
    refuse(find_causal_words(texts))


def describe_odds_ratio(label: str, value: float, lower: float, upper: float, *, level: float = 0.95) -> str:
    """One sentence of an odds ratio; `label` is that of its term, such as "Age, per 10 years"."""
    refuse_causal_words([label])
    if not math.isfinite(value):
        return f"{label}: no odds ratio can be given."
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return f"{label} goes with odds of readmission {value:.2f} times as high, without an interval."
    between = f"({level:.0%} interval {lower:.2f} to {upper:.2f})"
    unclear = "; the data do not tell whether the odds are higher or lower" if lower <= 1 <= upper else ""
    goes = f"{label} goes with odds of readmission {value:.2f} times as high {between}"
    return f"{goes}, the other predictors alike{unclear}."


def describe_importance(label: str, drop: float, lower: float, upper: float, *, level: float = 0.95) -> str:
    """One sentence of a predictor's permutation importance, the drop in AUROC."""
    refuse_causal_words([label])
    if not math.isfinite(drop):
        return f"{label}: its importance cannot be told."
    between = f" ({level:.0%} interval {lower:.3f} to {upper:.3f})" if math.isfinite(lower) else ""
    unclear = " It may be of no use to the model." if lower <= 0 else ""
    goes = f"Shuffling {label} goes with an AUROC {drop:.3f} lower{between}"
    return f"{goes}: that is how much the model leans on it.{unclear}"
