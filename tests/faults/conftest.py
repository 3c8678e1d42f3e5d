"""The mark of tests that kill: `-m "not faults"` leaves them out."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: kills workers and brokers, which takes a while")
