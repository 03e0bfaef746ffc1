"""The methods section of the academic report: the equations as the code solves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report.display import show_text
from evalkit.report.risk_methods import METHODS as RISK

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

SPELLS = r"""### Spells and readmission

Ward stays of one person under one provider spell are one hospital spell; so are two spells when the first ended by
transfer and the next began no more than a day later. An index discharge is the end of a spell, other than by death
or transfer, that touched an index ward type. A readmission is the start of the next different spell within the
horizon, credited to the latest discharge. Death without readmission is a competing event and counts as not
readmitted."""

READMISSION = r"""### Risk of readmission

*Estimand.* The difference-in-differences of the risk among people who might have been in any of the four cells of
group and period (overlap population).

*Covariates* are what the service cannot change; earlier admissions are left out, because after adoption they are partly
its own doing. *Values not recorded*: a deprivation decile takes the median, and a diagnosis or history that is not
recorded counts as absent.

*Assumption.* Given the covariates, risk would have moved in parallel in both groups; censoring is independent
within cells.

*Estimator.* Cells $k = 1, \dots, 4$ carry contrasts $c = (+1, -1, -1, +1)$. Propensities $e_k(x)$ come from a
multinomial logit; the tilt $h$ gives the overlap population [@li2019]; $m_k(x)$ is a lightly penalised logistic
outcome model with a term for each cell and common slopes; $v_i$ is the inverse-probability-of-censoring weight (0
if censored before the horizon). The estimator is doubly robust in the sense of @santanna2020:

$$h(x) = \frac{1}{\sum_k 1 / e_k(x)}$$

$$\mu_k = \frac{\sum_i h_i m_k(x_i)}{\sum_i h_i}
  + \frac{\sum_{i \in k} (h_i / e_{k,i}) v_i (Y_i - m_k(x_i))}{\sum_{i \in k} h_i / e_{k,i}}$$

$$\tau = \sum_k c_k \mu_k$$

*Interval.* Normal, from the influence values of $\tau$ summed by person. It counts people and not areas; a check
says so beside each estimate. *Follow-up* of a discharge before adoption is censored at adoption. *Refused* when a
cell has fewer than 5 readmissions."""

RATES = r"""### Rates by area

*Estimand.* The rate ratio in the treated: events seen after adoption over events that would have been.

*Assumption.* Without the service, rates would have moved in proportion in treated and untreated areas; areas are
exchangeable up to their size.

*Estimator.* The Poisson model with area and period effects is fitted on untreated cells only, and its prediction
for the treated cells is the counterfactual [@wooldridge2023; @borusyak2024]:

$$E[Y_{jt}] = N_{jt} \, a_j \, b_t$$

$$\rho = \frac{\sum_{treated} Y_{jt}}{\sum_{treated} N_{jt} a_j b_t}$$

*Interval.* With few treated areas a clustered standard error means nothing [@conley2011]. For each ratio $r$ the
treated outcomes are divided by $r$, treatment is given in turn to every area (to random sets of areas where several
were treated), as in the placebo tests of @abadie2010, and the statistic below is compared, with $O$ and $E$ the
observed and expected events after adoption and $B$ those observed before it. The interval holds each $r$ under
which the true assignment is not among the most extreme; the level it attains is written beside it.

$$t = \frac{\log((O + 1/2) / (E + 1/2))}{\sqrt{1 / (B + 1/2) + 1 / (E + 1/2)}}$$

*Refused* with fewer than 10 areas or no event before; below 20 areas no 95% interval exists and none is given."""

DESIGNS = r"""### Rates by area: other designs

*Weights of one estimator* [@arkhangelsky2021]. With $w_j$ on untreated areas and $l_t$ on the $T_0$ periods before,

$$d = \frac{1}{T_1} \sum_{t > T_0} \Big(y_{1t} - \sum_j w_j y_{jt}\Big) - \sum_{t \le T_0} l_t \Big(y_{1t} - \sum_j w_j
y_{jt}\Big)$$

Even weights give difference-in-differences, $l_t = 0$ with $w$ nearest to the path before gives synthetic control
[@abadie2010], a ridge correction of it the augmented one [@benmichael2021], and penalised $w$ with fitted $l$ synthetic
difference-in-differences. A difference $d$ is told as the ratio $O / (O - d)$, $O$ the mean rate seen after adoption.

*Intervals* are turned-round tests: treatment handed to every area, or the treated area's residuals shifted in time with
their serial correlation taken out (conformal, after @chernozhukov2021). Staggered designs [@callaway2021; @sun2021;
@borusyak2024] and two-way fixed effects have analytic errors, which reject a true null about 70 times in 100 when one
cluster is treated [@mackinnon2017]; below six treated clusters they are refused.

*Interrupted time series* [@bernal2017], alone or against the pooled other areas, with first-order autoregressive errors
by restricted maximum likelihood.

*If trends would have parted*: bounds under relative magnitudes and smoothness [@rambachan2023], on yearly log ratios
whose covariance is that of the untreated areas' own placebo paths."""

COSTS = r"""### Public cost

*Estimand.* Pounds per person and quarter among people who used a ward or a care home in the year before adoption.
Use is priced at what was paid, or else at unit costs, in money of one year; nothing is spent on the dead and on those
who moved away, who stay in the denominator. What is jointly funded is shared between the payers as the protocol says.

*Assumption.* Without the service, mean cost would have moved in proportion in both groups of like people.

*Estimator.* The comparison is weighted by the odds $e(x) / (1 - e(x))$, with $x$ what the service cannot change.
Of values not recorded, a deprivation decile takes the median and a diagnosis or history counts as absent. Earlier cost
is not in $x$: matching on it would bring regression to the mean into the comparison [@daw2018].

$$\kappa = \bar{y}_{T,before} \, \frac{\bar{y}_{C,after}}{\bar{y}_{C,before}},
\qquad \tau = \bar{y}_{T,after} - \kappa$$

*Interval.* Normal with the bootstrap error, people resampled within groups and weights fitted anew each time; the
relative change is normal on the log scale. Draws are widened to the width of $t$ where few people carry the spread.
*Refused* with fewer than 20 people on a side.

*Price and use.* With paid cost $P$ of placements, the same weeks at unit prices $S$ and $r = P / S$, of the treated as
they were (1) and would have been (0), price is $(r_1 - r_0)(S_1 + S_0)/2$ and use the rest of the effect.

*Other designs.* Doubly robust in pounds [@santanna2020] and in proportion, $r(x)$ the ratio of costs after and before
among the comparison and $w$ the odds that a pound spent before on people like $x$ was spent on the treated:

$$\psi = \overline{y_b r}_T + \bar{y}_{b,T} \, \frac{\sum_C w (y_a - r y_b)}{\sum_C w y_b};$$

gamma and two-part models with group, period and their product, errors by jackknife."""

NAIVE = r"""### Uncontrolled before and after

The treated area's own past, printed beside each estimate and labelled *not evidence of effect*."""

DESCRIPTION = r"""### Description

Returns to hospital per 1,000 days at risk (days alive, followed and out of hospital), by group and sex. The groups
are not made comparable, and no difference between them is an effect."""


def show_methods(release: Release) -> None:
    """The methods that this study's outcomes call for."""
    protocol = release.protocol
    kinds = {outcome.kind for outcome in protocol.outcomes}
    parts = []
    if "readmission" in kinds:
        parts.append(SPELLS)
    if protocol.exposure.by == "area":
        parts += [
            text for kind, text in (("readmission", READMISSION), ("rate", RATES), ("cost", COSTS)) if kind in kinds
        ]
        if protocol.robustness.designs and "rate" in kinds:
            parts.insert(parts.index(RATES) + 1, DESIGNS)
    if len(release.table("description.recurrence")):
        parts.append(DESCRIPTION)
    if protocol.risk_model:
        parts.append(RISK)
    if protocol.exposure.by == "area":
        parts.append(NAIVE)
    show_text("\n\n".join(parts), id="text-methods")
