from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from segworkers.evaluation.intervals import percentiles, resampled, wilson


@given(st.integers(1, 500), st.data())
def test_wilson_is_that_of_scipy(trials: int, data: st.DataObject):
    hits = data.draw(st.integers(0, trials))
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert wilson(hits, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_tried_says_nothing():
    assert np.isnan(wilson(0, 0)).all()


def test_every_resample_draws_as_many_units_and_all_of_them_equally_often():
    rows = np.concatenate(list(resampled(7, 120)))
    assert rows.shape == (120, 7) and (rows.sum(axis=1) == 7).all()
    assert np.allclose(rows.mean(axis=0), 1, atol=0.35) and rows.std() > 0.5
    np.testing.assert_array_equal(rows, np.concatenate(list(resampled(7, 120))))


def test_percentiles_of_what_is_known():
    values = np.append(np.arange(1001) / 1000, np.full(500, np.nan))
    assert percentiles(values) == pytest.approx((0.025, 0.975))
    assert np.isnan(percentiles(np.append(values, np.full(600, np.nan)))).all(), "most of them say nothing"
    assert np.isnan(percentiles(np.ones(100))).all(), "they all agree"
