"""What all tests share: the real servers, and that none is about time."""

from hypothesis import HealthCheck, settings

from tests.engines.fixtures import rabbitmq, valkey
from tests.engines.hatchet import hatchet
from tests.engines.temporal import temporal

# How long an example takes says more of the machine than of the code.
settings.register_profile("onward", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("onward")

__all__ = ["hatchet", "rabbitmq", "temporal", "valkey"]
