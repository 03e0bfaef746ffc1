"""Readmission risk, in the order of its work.

- Data and preparation: `data`, `missingness`, `prepare`, `imputation`
- Is there enough of it: `sample_size`, `sample_criteria`, `sample_spread`
- Models: `model`, `competing`, `model_refit`, `model_file`, `predict`, `recalibrate`, `drift`
- Measures: `validate`, `measures`, `calibration`, `calibration_test`, `time_*`
- Resampling: `resample` (the one bootstrap), `ridge`, `refit`, `optimism`, `cross_validate`, `places`, `instability`
- Decisions: `decision`, `decision_time`, `threshold_table`
- Groups and explanation: `fairness`, `fairness_curves`, `fairness_threshold`, `explain`, `explain_terms`
- Laid out as rows of results: `cells`, `decision_cells`, `fairness_cells`, `explain_cells`
"""
