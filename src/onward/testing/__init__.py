"""For tests of flows and backends: the laws as a test class, and a strategy for flows."""

import pytest

# A law that fails shows the values that differ, as in the module that subclasses the suite.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in ("attempts", "calls", "composition", "schedules", "suite", "tools", "values")
    )
)

from onward.testing.strategies import flows  # noqa: E402 - what is imported before is not rewritten
from onward.testing.suite import BackendSuite  # noqa: E402

__all__ = ["BackendSuite", "flows"]
