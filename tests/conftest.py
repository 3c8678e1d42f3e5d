"""What all tests share: the real servers, each started when it is first asked for."""

from tests.engines.fixtures import rabbitmq, valkey

__all__ = ["rabbitmq", "valkey"]
