"""How readmission risk models are made and judged, for the methods of the academic report."""

from __future__ import annotations

METHODS = r"""### Readmission risk models

Reported by TRIPOD+AI [@collins2024]. The target is readmission within a horizon of discharge; a death before it
competes and counts as not readmitted. *Predictors* are what was known at discharge. *Sample size* follows @riley2019
and @riley2020 for development, in discharges of independent people, and @riley2021 for validation; a model whose
sample is too small is not built. *Development* uses discharges whose follow-up was complete before a date, *validation*
later ones.

*Models.* Ridge logistic regression of standardised predictors, the penalty fixed at 1 (half the sum of squared
coefficients is added to minus the log-likelihood) and not tuned; boosted trees (100 of depth 3, learning rate 0.05);
Fine-Gray regression of the subdistribution [@fine1999], read at the horizon; and, as what a model has to beat, logistic
regression on earlier admissions alone, without a penalty. No classes are weighted or sampled anew, which would spoil
calibration. *Missing values:* as shipped, the median of development with
an indicator of missingness, and a level of its own for a category (boosting lets them take a branch). Beside that the
whole is repeated with chained equations learnt in development without the outcome [@sisk2023]: models on each imputed
set, each later discharge imputed on its own, its risks averaged, and the optimism of the averaged risks taken off, with
missing values imputed once.

*Discrimination* is the area under the curve with its variance by person [@obuchowski1997]. *Calibration* is told by
observed over expected, intercept and slope, and a smooth curve of $P(Y = 1)$ on $\mathrm{logit}(p)$
[@vancalster2019]; with $c(p)$ that curve,

$$\mathrm{ICI} = \frac{1}{n} \sum_i |c(p_i) - p_i|$$

and E50, E90 and Emax are quantiles and the largest of these distances [@austin2019]. Measures in time keep the dead
at risk in Harrell's C, weight by the probability of censoring elsewhere, and take the observed risk by Aalen-Johansen.
With $\mathrm{TP}$ and $\mathrm{FP}$ the discharges rightly and wrongly pointed at from risk $t$ on, *net benefit*
[@vickers2006] is

$$\mathrm{NB}(t) = \frac{\mathrm{TP}}{n} - \frac{\mathrm{FP}}{n} \, \frac{t}{1 - t}$$

also with both from cumulative incidence, death competing.

*Optimism* is Harrell's, by bootstrap of people [@harrell1996]; its interval is of quantiles over the draws, moved to
the corrected value, and is left out where fitting holds a measure still. *Cross-validation* has five folds of whole
people, four times. Refits keep medians and levels for the logistic and competing-risk models and learn all anew for
boosting. *Areas* are left out of development one at a time and pooled with random effects [@steyerberg2016].
*Instability* is read from the bootstrap models [@rileycollins2023]. *Updating* is by intercept, by intercept and
slope, or by all coefficients anew, the least change that closed testing does not reject [@vergouwe2017]; each update
is measured on people that it was not fitted to, by ten folds of people. Intervals count people, not discharges.

*Groups.* The largest gap between levels has an interval that holds for all pairs of levels at once [@hothorn2008].
Measures and characteristics are not taken together: so it is said how many gaps were looked at, and that the model
serves some worse is said only where the binomial chance of as many intervals leaving out 0, or more, is below one minus
their level. Odds ratios, importance and dependence describe the model: none is an effect."""
