"""What all tests share: the real servers, and that none is about time."""

import signal

from hypothesis import HealthCheck, settings

from tests.engines.fixtures import rabbitmq, valkey
from tests.engines.hatchet import hatchet
from tests.engines.temporal import temporal

# How long an example takes says more of the machine than of the code.
settings.register_profile("onward", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("onward")

# A shell has what it starts in the background ignore Ctrl-C, and that is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["hatchet", "rabbitmq", "temporal", "valkey"]
