"""Disclosure profiles: what is too few to show, and how coarsely the rest is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.sections import DisclosureProfile

Zeros = Literal["suppress", "show"]
Steps = Literal["nearest", "midpoint6"]


@dataclass(frozen=True)
class Policy:
    """What one profile asks for. Counts are of people or of events.

    `threshold`: counts below it are suppressed. `base`: the others go to its nearest multiple.
    `zeros`: whether a count of 0 is suppressed like the rest. `steps`: how the steps of a risk curve
    are coarsened (`nearest` multiple of `base` events, or the midpoint of each six). Digits are
    significant digits; `percent_decimals` are decimal places.

    `least_freedom`: an estimate with fewer residual degrees of freedom is suppressed. `most_of_two` and
    `left_beside_two`: what two people may have of a sum, and what must be left beside them (1 and 0 ask for nothing).
    These two need people's rows: `core.dominance` tests them, at the limits of `strict` whatever the profile.
    """

    name: DisclosureProfile
    threshold: int
    base: int
    zeros: Zeros
    source: str
    source_checked: Literal["seen", "remembered", "brief"]
    steps: Steps = "nearest"
    percent_decimals: int = 1
    estimate_digits: int = 4
    descriptive_digits: int = 3
    p_decimals: int = 3
    least_freedom: int = 0
    most_of_two: float = 1.0
    left_beside_two: float = 0.0

    @property
    def least(self) -> int:
        """The smallest value that a suppressed count may have."""
        return 0 if self.zeros == "suppress" else 1

    def too_few(self, count: float) -> bool:
        """Whether this count is suppressed; NaN (not given) is not."""
        return self.least <= count < self.threshold

    def rounded(self, count: float) -> float:
        """The count as it is shown, halves upwards; NaN stays NaN."""
        return math.floor(count / self.base + 0.5) * self.base if math.isfinite(count) else count

    def range_of(self, shown: float) -> tuple[int, int]:
        """The least and greatest count that are shown as `shown`."""
        if shown == 0:
            return (0, 0)
        low = math.ceil(shown - self.base / 2)
        return (max(self.threshold, low), math.ceil(shown + self.base / 2) - 1)

    def step(self, events: np.ndarray | float) -> np.ndarray:
        """Numbers of events behind the steps of a curve, coarsened; shape kept."""
        events = np.asarray(events, dtype=float)
        if self.steps == "midpoint6":
            return np.ceil(events / 6) * 6 - 3 * (events != 0)
        return np.floor(events / self.base + 0.5) * self.base


_POLICIES: dict[DisclosureProfile, Policy] = {
    p.name: p
    for p in (
        Policy(
            "strict", 10, 5, "suppress",
            "The strictest of the profiles below on every point; the default of evalkit.", "brief",
            least_freedom=10, most_of_two=0.9, left_beside_two=0.1,
        ),
        Policy(
            "acro", 10, 5, "suppress",
            "AI-SDC/ACRO, acro/default.yaml: threshold 10, zeros disclosive, rounding base 5, residual degrees of "
            "freedom 10, the two largest below 90% of a sum, p-ratio 10%.", "seen",
            least_freedom=10, most_of_two=0.9, left_beside_two=0.1,
        ),
        Policy(
            "nhse_sde", 10, 5, "suppress",
            "NHS England Secure Data Environment, safe outputs: below 10 suppressed, rest to nearest 5. Its word "
            "on zeros was not seen, so they are suppressed.", "remembered",
        ),
        Policy(
            "ons_srs", 10, 5, "suppress",
            "ONS Secure Research Service: below 10 suppressed, no dominance. Rounding and zeros were not seen, so they "
            "are as in `strict`; dominance as in ACRO.", "remembered",
            least_freedom=10, most_of_two=0.9, left_beside_two=0.1,
        ),
        Policy(
            "nes", 10, 5, "show",
            "NHS Education for Scotland, turasdata.nes.nhs.scot: counts of 1 to 9 are assessed for risk, here "
            "suppressed; rounding was not seen, so it is to the nearest 5.", "seen",
        ),
        Policy(
            "opensafely", 8, 5, "suppress",
            "OpenSAFELY documentation, docs/outputs/sdc.md: 7 or fewer redacted, then nearest 5; steps of curves "
            "at the midpoint of each six.", "seen", steps="midpoint6",
        ),
        Policy(
            "mhsds_publication", 5, 5, "suppress",
            "NHS England, menh_bbrb mhsds_functions.py: below 5 suppressed, rest to nearest 5, percentages "
            "as whole numbers.", "seen", percent_decimals=0,
        ),
        Policy(
            "hes", 8, 5, "show",
            "Hospital Episode Statistics since 2018: 1 to 7 suppressed, rest to nearest 5, 0 shown.", "remembered",
        ),
    )
}  # fmt: skip


def policy(profile: DisclosureProfile) -> Policy:
    """The policy of a profile.

    Raises
    ------
    ParameterError
        If there is no such profile; it names the nearest one.
    """
    if profile not in _POLICIES:
        known = list(get_args(DisclosureProfile))
        raise ParameterError(
            Fault("disclosure profile", f'there is no profile "{profile}"', allowed=", ".join(known),
                  next_step=suggest_name(str(profile), known))
        )  # fmt: skip
    return _POLICIES[profile]
