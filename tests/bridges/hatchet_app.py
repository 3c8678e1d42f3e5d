"""Somebody's Hatchet worker, which runs in a process of its own."""

import asyncio
import os
from typing import Any

from hatchet_sdk import Context, Hatchet

from onward import connect
from onward.bridges.hatchet import child
from tests.bridges.flows import breaks, halved

NAME = os.environ["NAME"]
backend = connect(os.environ["ONWARD"]).unwrap()
hatchet = Hatchet()


@hatchet.task(name=f"{NAME}-charge", input_validator=dict)
async def charge(given: dict[str, Any], context: Context) -> dict[str, Any]:
    if given["card"] == "bad":
        raise RuntimeError(f"no {given['cents']}")
    return {"card": given["card"], "cents": given["cents"]}


@hatchet.task(name=f"{NAME}-hold", input_validator=dict)
async def hold(given: dict[str, Any], context: Context) -> dict[str, Any]:
    await asyncio.sleep(3600)
    return {}


@hatchet.task(name=f"{NAME}-calls", input_validator=dict)
async def calls(given: dict[str, Any], context: Context) -> dict[str, Any]:
    found = await child(halved(given["n"]), context, on=backend)
    return {"said": str(found)}


@hatchet.task(name=f"{NAME}-retried", input_validator=dict, retries=1)
async def retried(given: dict[str, Any], context: Context) -> dict[str, Any]:
    found = await child(breaks(given["n"]), context, on=backend)
    if context.attempt_number == 1:
        raise RuntimeError("again")
    return {"said": str(found)}


if __name__ == "__main__":
    hatchet.worker(NAME, workflows=[charge, hold, calls, retried]).start()
