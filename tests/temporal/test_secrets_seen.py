"""No secret stands in what Temporal keeps and shows of a call."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from pydantic import SecretStr
from returns.result import Success
from temporalio.api.workflowservice.v1 import DescribeActivityExecutionRequest
from temporalio.client import Client

from onward import Call, Catalog, Raised, Secret, given, result, submit, task, work
from onward.backends.temporal import temporal as temporal_at
from onward.sealing import sealing
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.sdk import Sdk

MARKER = f"s3cr3t{uuid4().hex}"


@task
def login(user: str, password: Secret[str]) -> Secret[str]:
    return Secret(f"{user}:{password.get_secret_value()}")


@task
def opened(token: Secret[str]) -> int:
    return len(token.get_secret_value())


@task
def refused(password: SecretStr) -> int:
    raise PermissionError(f"not with {password}")


@task
def plainly(user: str, password: str) -> int:
    return len(user + password)


@task
def same(n: int) -> int:
    return n


def kept(sdk: Sdk, id: str) -> list[Message]:
    """All that the server has of a call."""

    async def activity(client: Client) -> Message:
        asked = DescribeActivityExecutionRequest(
            namespace=client.namespace,
            activity_id=id,
            include_input=True,
            include_outcome=True,
            include_heartbeat_details=True,
            include_last_failure=True,
        )
        return await client.workflow_service.describe_activity_execution(asked)

    if id.startswith("task-"):
        return [sdk.run(activity)]
    return [sdk.describe(id).raw_description, *sdk.history(id).events]


@pytest.fixture(scope="module")
def backend(temporal: Temporal) -> Iterator[Any]:
    pytest.importorskip("cryptography")
    with closing(temporal_at(HOST, temporal.port, task_queue=uuid4().hex)) as plain:
        sealed: Any = sealing(plain, [b"k" * 32])
        stop = threading.Event()
        catalog = Catalog(login, opened, refused, plainly, same)
        worker = threading.Thread(target=work, args=(catalog,), kwargs={"on": sealed, "stop": stop})
        worker.start()
        yield sealed
        stop.set()
        worker.join()


@pytest.mark.parametrize(
    "call",
    [
        login("ann", Secret(MARKER)),
        given(login, password=Secret(MARKER))("ann"),
        (given(login, Secret(MARKER)) >> opened)("ann"),
        refused(SecretStr(MARKER)),
        (refused >> same)(SecretStr(MARKER)),
    ],
    ids=str,
)
def test_a_sealed_secret_is_nowhere(call: Call[Any, Any], backend: Any, sdk: Sdk) -> None:
    """Not in payloads either, names, failures or summaries."""
    ref = submit(call, on=backend).unwrap()
    outcome = result(ref, on=backend, timeout=120)
    assert isinstance(outcome, Success) or isinstance(outcome.failure(), Raised)
    found = kept(sdk, ref.id)
    assert any(b"ann" in each.SerializeToString() for each in found) == ("ann" in repr(call))
    assert not [each for each in found if MARKER.encode() in each.SerializeToString()]


@pytest.mark.parametrize("flow", [given(plainly, MARKER), given(plainly, password=MARKER) >> same])
def test_no_name_has_a_value_of_given(flow: Any, backend: Any, sdk: Sdk) -> None:
    """The value itself is in the payloads, which are base64 here."""
    ref = submit(flow("ann"), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120).unwrap() == 3 + len(MARKER)
    found = kept(sdk, ref.id)
    assert [each for each in found if MARKER.encode() in each.SerializeToString()]
    assert not [each for each in found if MARKER in MessageToJson(each)]
