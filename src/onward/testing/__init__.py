"""For those who test flows and write backends: the laws as a suite, and flows to try them on."""

from onward.testing.strategies import flows
from onward.testing.suite import BackendSuite

__all__ = ["BackendSuite", "flows"]
