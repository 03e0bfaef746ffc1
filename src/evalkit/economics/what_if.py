"""What the service might save in another borough, if its effect in proportion carried over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from evalkit.core.economics import WhatIf
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check
from evalkit.economics.effects import (
    QUARTERS_PER_YEAR,
    PeriodEffect,
    Ranged,
    draws_vary,
    log_spread,
    map_range,
    period_faults,
    ratio_range,
)
from evalkit.economics.faults import number_faults

_NAN = math.nan
_SLACK = 1e-9
CARRIES_OVER = (
    "It is assumed that cost would change there in the same proportion as here. One place cannot show whether it would."
)
OWN_COST_UNKNOWN = (
    "What people cost there now was not given: they are taken to cost what they would have cost here without the "
    "service, at that place's prices. The range does not hold this doubt."
)
OWN_COST_KNOWN = "What people cost there now was given, and is taken as exact."
NO_SPREAD = "No allowance is made for how much effects differ between places, so the range is too narrow."
ASSUMED_SPREAD = "How much effects differ between places was assumed, not estimated: one place cannot show it."
BOTH_SIGNS = (
    "The range runs from a saving to an extra cost: the service, its own cost counted, might cost more there than it "
    "saves."
)
SAVES = "The whole range is a saving, the service's own cost counted."
COSTS = "The whole range is an extra cost, the service's own cost counted."
NO_SET_UP = "There is no set-up to pay back."
NOT_PAID = "At this effect each person costs at least as much as is saved, so no number of people pays it back."
NO_FALL_PAYS = "The service costs as much as everything else or more, so no fall in other costs can pay for it."
MAY_NEVER_PAY = (
    "At the worse end of the range no number of people pays the set-up back in a year, so there is no upper end."
)


@dataclass(frozen=True)
class WhatIfOptions:
    """`programme_gbp_per_person_quarter`: what the service itself costs here, 0 where the effect already holds it.

    `between_place_sd`: standard deviation between places of the logarithm of actual / counterfactual cost. There is no
    default: one place cannot show it. 0 says that places do not differ, which fails a check; 0.1 that in two thirds of
    places the ratio lies within about 10% of that of a typical place.
    """

    programme_gbp_per_person_quarter: float
    between_place_sd: float
    level: float = 0.95


@dataclass(frozen=True)
class WhatIfResult:
    """Money of a year in another place, GBP; savings above 0, extra costs below.

    `relative_change`: of other costs, with the range for a new place. `saving_gbp_per_year` is on other services,
    `net_saving_gbp_per_year` less the service's own cost, `net_year_one_gbp` less the set-up too.
    `break_even_relative_change` is the change of other costs that pays for the running of the service, and
    `..._year_one` for the set-up as well within a year.
    `people_to_repay`: fewest people at which the set-up is repaid in a year. `probability_*` read the spread of log R
    as that of what is true: of a saving net of the service's own cost, and of a repaid set-up in a year.
    Reasons say why a number is not there.
    """

    key: str
    people: int
    base_gbp_per_person_quarter: float
    relative_change: Ranged
    saving_gbp_per_year: Ranged
    programme_gbp_per_year: float
    net_saving_gbp_per_year: Ranged
    set_up_gbp: float
    net_year_one_gbp: Ranged
    break_even_relative_change: float
    break_even_relative_change_year_one: float
    break_even_reason: str
    break_even_year_one_reason: str
    probability_saves: float
    probability_repaid_in_year_one: float
    people_to_repay: Ranged
    people_reason: str
    level: float
    checks: tuple[Check, ...]


def estimate_what_if(place: WhatIf, effect: PeriodEffect, *, options: WhatIfOptions) -> WhatIfResult:
    """Expected saving of another place, n people x 4 quarters x (base (1 - R) - p programme).

    R = actual / counterfactual cost here; base is the place's own cost per person-quarter, else p x the
    counterfactual here, p being its prices over those here. log R is normal with the spread of the draws and the
    variance between places added, so every number that moves one way with R has its interval from that of R, and all
    agree in sign. The set-up is in that place's prices already.

    Parameters
    ----------
    effect : cost of other services over the period here, without the service's own unless
        `programme_gbp_per_person_quarter` is 0

    Raises
    ------
    ParameterError
        Costs or draws that are missing, infinite or negative, too few draws, options out of range; all at once.
    NotEstimable
        Nothing spent, in the estimate or in a draw, so that a ratio has no meaning; draws that do not differ.
    """
    refuse([
        *period_faults(effect, "effect"), *level_faults(options.level),
        *number_faults("programme_gbp_per_person_quarter", options.programme_gbp_per_person_quarter, least=0),
        *number_faults("between_place_sd", options.between_place_sd, least=0),
    ])  # fmt: skip
    _require_ratio(effect)
    log_sd = log_spread(effect.draws[:, 0] / effect.draws[:, 1], options.between_place_sd)
    ratio = ratio_range(effect.actual / effect.counterfactual, log_sd, options.level)
    own = place.cost_per_person_quarter_gbp
    base = effect.counterfactual * place.price_ratio if own is None else own
    programme = options.programme_gbp_per_person_quarter * place.price_ratio
    person_quarters = place.people * QUARTERS_PER_YEAR
    all_base, all_programme = base * person_quarters, programme * person_quarters
    even, even_reason = _break_even(all_programme / all_base)
    even_first, first_reason = _break_even((all_programme + place.set_up_gbp) / all_base)
    net_per_person = map_range(ratio, -base * QUARTERS_PER_YEAR, (base - programme) * QUARTERS_PER_YEAR)
    fewest, people_reason = _people_to_repay(place.set_up_gbp, net_per_person)
    net = map_range(ratio, -all_base, all_base - all_programme)
    return WhatIfResult(
        place.key, place.people, base, map_range(ratio, 1.0, -1.0), map_range(ratio, -all_base, all_base),
        all_programme, net, place.set_up_gbp, map_range(ratio, -all_base, all_base - all_programme - place.set_up_gbp),
        even, even_first, even_reason, first_reason, _probability_below(even, ratio.value, log_sd),
        _probability_below(even_first, ratio.value, log_sd), fewest, people_reason, options.level,
        _checks(place, options, net),
    )  # fmt: skip


def _require_ratio(effect: PeriodEffect) -> None:
    if min(effect.actual, effect.counterfactual) <= 0 or (effect.draws <= 0).any():
        what = "in the estimate or in some draws nothing was spent, so a ratio has no meaning"
        raise NotEstimable(Fault("effect", what))
    if not draws_vary(effect.draws[:, 0] / effect.draws[:, 1]):
        raise NotEstimable(Fault("effect, draws", "they do not differ at all, so there is no spread to learn"))


def _break_even(share: float) -> tuple[float, str]:
    """The relative change of other costs that pays for what is this share of them."""
    return (_NAN, NO_FALL_PAYS) if share >= 1 else (0.0 - share, "")


def _probability_below(relative_change: float, ratio: float, log_sd: float) -> float:
    """Probability that cost changes by less than this, 0 where nothing would be enough."""
    if math.isnan(relative_change):
        return 0.0
    return float(stats.norm.cdf((math.log1p(relative_change) - math.log(ratio)) / log_sd))


def _people_to_repay(set_up_gbp: float, net_per_person: Ranged) -> tuple[Ranged, str]:
    """Fewest people whose net saving in a year, GBP a person, is the set-up; one at the least."""

    def fewest(net: float) -> float:
        return max(math.ceil(set_up_gbp / net * (1 - _SLACK)), 1.0) if net > 0 else _NAN

    if set_up_gbp == 0:
        return Ranged(), NO_SET_UP
    if net_per_person.value <= 0:
        return Ranged(), NOT_PAID
    upper = fewest(net_per_person.lower)
    return Ranged(fewest(net_per_person.value), fewest(net_per_person.upper), upper), (
        MAY_NEVER_PAY if math.isnan(upper) else ""
    )


def _checks(place: WhatIf, options: WhatIfOptions, net: Ranged) -> tuple[Check, ...]:
    known = place.cost_per_person_quarter_gbp is not None
    text = SAVES if net.lower > 0 else COSTS if net.upper <= 0 else BOTH_SIGNS
    return (
        Check("effect_carries_over", False, _NAN, CARRIES_OVER),
        Check("own_cost_known", known, _NAN, OWN_COST_KNOWN if known else OWN_COST_UNKNOWN),
        Check("between_places", None if options.between_place_sd > 0 else False, options.between_place_sd,
              ASSUMED_SPREAD if options.between_place_sd > 0 else NO_SPREAD),
        Check("saves_throughout", text == SAVES, net.lower, text),
    )  # fmt: skip
