"""The Temporal backend: runs a flow as a durable workflow, and a single task as an activity.

The SDK is imported when a backend is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from onward.policy import check_queue

if TYPE_CHECKING:
    from temporalio.converter import DataConverter
    from temporalio.service import TLSConfig

    from onward.backends.temporal.backend import TemporalBackend

__all__ = ["TemporalBackend", "temporal"]


def temporal(
    host: str = "localhost",
    port: int = 7233,
    *,
    namespace: str = "default",
    task_queue: str = "onward",
    heartbeat: float = 10.0,
    tls: bool | TLSConfig | None = None,
    api_key: str | None = None,
    data_converter: DataConverter | None = None,
    rpc_metadata: Mapping[str, str] | None = None,
) -> TemporalBackend:
    """A backend that runs flows on Temporal.

    Args:
        host: The server's host.
        port: The server's port.
        namespace: The namespace, which must exist.
        task_queue: The task queue of workflows, and of steps that name no queue.
        heartbeat: How long a worker that runs a step may send no heartbeat, in seconds. After that
            another worker takes the step over.
        tls: Whether to use TLS, or its configuration; None for TLS if there is an API key.
        api_key: The API key, for example of Temporal Cloud.
        data_converter: A converter whose payload codec (encryption) and failure converter are used.
            The payloads themselves are Onward's JSON.
        rpc_metadata: Headers of each request.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> from onward.backends.temporal import temporal
        >>> temporal("localhost", 7233, task_queue="reports")
        temporal('localhost:7233', namespace='default', task_queue='reports')
    """
    for name, text in (("host", host), ("namespace", namespace)):
        if not isinstance(text, str):
            raise TypeError(f"{name} is a text, not {text!r}")
        if not text:
            raise ValueError(f"{name} is empty")
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port is a number, not {port!r}")
    if not 0 < port < 65536:
        raise ValueError(f"port is from 1 to 65535, not {port}")
    check_queue(task_queue)
    if isinstance(heartbeat, bool) or not isinstance(heartbeat, int | float):
        raise TypeError(f"heartbeat is a number of seconds, not {heartbeat!r}")
    if not 1 <= heartbeat <= 3600:
        raise ValueError(f"heartbeat is from 1 to 3600 seconds, not {heartbeat}")
    from onward.backends.temporal.backend import TemporalBackend
    from onward.backends.temporal.client import Address

    return TemporalBackend(
        Address(
            f"{host}:{port}",
            namespace,
            task_queue,
            heartbeat,
            tls,
            api_key,
            data_converter,
            dict(rpc_metadata or {}),
        )
    )


def __getattr__(name: str) -> object:
    if name == "TemporalBackend":
        return importlib.import_module("onward.backends.temporal.backend").TemporalBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
