"""Specification tests of two-part models: both links, the variance of positive cost, residuals of the whole."""

from __future__ import annotations

import numpy as np

from evalkit.core.result import Check
from evalkit.estimators.costs.glm_families import invert_link
from evalkit.estimators.costs.specification import (
    check_hosmer_lemeshow,
    check_link,
    check_park,
    check_pearson,
    collect_checks,
    compute_hosmer_lemeshow,
    compute_link_test,
    compute_park_test,
    compute_pearson_test,
)
from evalkit.estimators.costs.two_part import (
    TwoPartModel,
    build_first_options,
    build_second_options,
    predict_two_part,
)


def check_two_part(model: TwoPartModel, x: np.ndarray, y: np.ndarray) -> tuple[Check, ...]:
    """Tests of a two-part model: links of both parts, variance of the second, residuals of the whole."""
    paid = y > 0
    group = model.cluster if model.options.errors == "cluster" else None
    among = None if group is None else group[paid]
    eta = x[paid] @ model.second
    mu = predict_two_part(model, x)
    tests = [
        ("link_test_first", lambda: check_link(
            compute_link_test(paid.astype(float), x @ model.first, options=build_first_options(model.options),
                              cluster=group), model.options.first)),
        ("pearson_correlation", lambda: check_pearson(compute_pearson_test(y, mu, cluster=group))),
        ("hosmer_lemeshow", lambda: check_hosmer_lemeshow(compute_hosmer_lemeshow(y, mu, cluster=group))),
    ]  # fmt: skip
    if model.options.second == "glm":
        second, positive = build_second_options(model.options), invert_link(eta, model.options.link)
        tests += [
            ("link_test_second", lambda: check_link(
                compute_link_test(y[paid], eta, options=second, cluster=among), model.options.link)),
            ("park_test", lambda: check_park(
                compute_park_test(y[paid], positive, cluster=among), model.options.family)),
        ]  # fmt: skip
    return collect_checks(tests)
