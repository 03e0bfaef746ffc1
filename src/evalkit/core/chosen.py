"""What a protocol says of outcomes that people chose: what counts as having it, where it is recorded, who chose it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.core.dates import Window
from evalkit.core.outcomes import Frozen

YEAR_DAYS = 365  # how long people are looked at before and after
Activity = Literal["employment", "volunteering", "education", "connections"]
ChosenRecord = Literal["activity", "health_check", "answers", "none"]
ChosenBy = Literal["peers", "evaluators", "not_recorded"]
CHOSEN_BY_LABELS: dict[ChosenBy, str] = {
    "peers": "people who have used services",
    "evaluators": "the evaluators; people who have used services have not been asked yet",
    "not_recorded": "nobody wrote down who chose it",
}
Scenario = Literal["if_all_did", "if_none_did", "least", "most"]
# What people without a record are taken to be: service before and after, comparison areas before and after.
FILLED: dict[Scenario, tuple[float, float, float, float]] = {
    "if_all_did": (1, 1, 1, 1), "if_none_did": (0, 0, 0, 0), "least": (1, 0, 0, 1), "most": (0, 1, 1, 0),
}  # fmt: skip
WHY_NO_ITEM = "Nothing in these records asks about it."
_NEEDS: dict[ChosenRecord, tuple[str, ...]] = {
    "activity": ("activities", "yes", "no"),
    "health_check": ("checks",),
    "answers": ("instrument", "items", "scale", "at_least"),
    "none": (),
}
_OPTIONS = ("activities", "yes", "no", "checks", "instrument", "items", "scale", "at_least")


class ChosenOutcome(Frozen):
    """A share of people who had or did something, from what was last recorded of them in a year.

    `plain` goes on from "people who", such as "took part in work". `record` says where it is recorded:

    - `activity`: somebody has it whose last status of one of `activities` is among `yes`, and has it not whose last
      statuses of all are among `no`. Any other status is no answer.
    - `health_check`: somebody has it of whom the last of one of `checks` was done.
    - `answers`: somebody has it whose mean answer to `items` of the `instrument`, on the last day on which they
      answered, is `at_least` so much. An answer outside `scale` is none.
    - `none`: no item asks about it. It is named all the same, so that a report says so.

    Where fewer than the share `least_recorded` of the people have a record, in either group and either year, there is
    no result.
    """

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    plain: str
    better: Literal["lower", "higher", "neither"]
    chosen_by: ChosenBy
    record: ChosenRecord
    activities: tuple[Activity, ...] = ()
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    instrument: str = ""
    items: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    at_least: Annotated[float, Field(allow_inf_nan=False)] | None = None
    least_recorded: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _names_its_record(self) -> ChosenOutcome:
        given = {name for name in _OPTIONS if getattr(self, name) not in ((), "", None)}
        missing = [name for name in _NEEDS[self.record] if name not in given]
        unused = [name for name in _OPTIONS if name in given and name not in _NEEDS[self.record]]
        problems = [f'record = "{self.record}" needs `{name}`' for name in missing]
        problems += [f'record = "{self.record}" has no use for `{name}`' for name in unused]
        both = sorted(set(self.yes) & set(self.no))
        problems += [f'status "{status}" stands for both yes and no' for status in both]
        for name in ("activities", "yes", "no", "checks", "items"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                problems.append(f"`{name}` names something twice")
        if self.scale is not None:
            if not -1e6 <= self.scale[0] < self.scale[1] <= 1e6:
                problems.append("`scale` is the lowest and the highest answer, in this order")
            elif self.at_least is not None and not self.scale[0] < self.at_least <= self.scale[1]:
                problems.append("`at_least` must lie on the scale, above its lowest answer")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def chosen_windows(*, adoption: dt.date, anticipation_days: int) -> tuple[Window, Window]:
    """The year before go-live and the year from it; the days of anticipation belong to neither."""
    span, opens = dt.timedelta(days=YEAR_DAYS), adoption - dt.timedelta(days=anticipation_days)
    return Window(opens - span, opens), Window(adoption, adoption + span)
