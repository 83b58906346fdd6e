"""The settings of every test, in conftest.py, do what they say."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="the tests run in one process")
def test_tests_of_a_file_stay_in_one_process(request: pytest.FixtureRequest) -> None:
    """xdist reads the group from the end of a test's id. Versions that do not fit each other lose it without a word:
    then fixtures of a file are made in each process, and two Rays run at once."""
    assert request.node.nodeid.endswith("@tests/test_conftest.py")
