"""What all tests share: the real servers, and that none is about time."""

import logging
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.doctest import DoctestModule
from _pytest.pytester import SysModulesSnapshot
from hypothesis import HealthCheck, settings

from tests.engines.fixtures import rabbitmq, valkey
from tests.engines.hatchet import hatchet, hatchet_starter
from tests.engines.temporal import temporal

# How long an example takes says more of the machine than of the code.
settings.register_profile("onward", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("onward")

# What a shell starts in the background ignores Ctrl-C and Ctrl-\, and what nohup starts ignores a
# hang-up. The processes that tests start would inherit that.
for number, default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

if TYPE_CHECKING:
    from collections.abc import ValuesView


class Loggers(dict[str, logging.Logger | logging.PlaceHolder]):
    """All loggers. Their values may be gone through while another thread makes a logger."""

    def values(self) -> "ValuesView[logging.Logger | logging.PlaceHolder]":  # type: ignore[override]  # a dict has a view type of its own
        return self.copy().values()


# pytest goes through all loggers before each phase of a test, and takes no lock for that. A
# worker's thread that imports a module meanwhile makes new ones.
logging.Logger.manager.loggerDict = Loggers(logging.Logger.manager.loggerDict)


def _forget(snapshot: SysModulesSnapshot) -> None:
    """Forgets the test modules that a run within a test has imported."""
    for name in [each for each in sys.modules if each.startswith("test_")]:
        del sys.modules[name]


# pytest would empty `sys.modules` for a moment. What another thread imports just then, such as one
# that a broken backend has left behind, is then imported twice or never again.
SysModulesSnapshot.restore = _forget  # type: ignore[assignment, method-assign]  # on purpose


class OnlyModulesWithExamples:
    """Reads docstrings of those modules only that have examples, in `src` as in `tests`.

    pytest imports a module to look for examples, an engine's SDK with it, in each of its processes.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(
        self, file_path: Path
    ) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
        found = yield
        if file_path.suffix != ".py" or ">>> " in file_path.read_text("utf-8"):
            return found
        return [each for each in found if not isinstance(each, DoctestModule)]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(OnlyModulesWithExamples())
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(hatchet_starter())


__all__ = ["hatchet", "rabbitmq", "temporal", "valkey"]
