"""What signing costs: `python -m benchmarks.signing`, with its own Valkey."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.served import flow, step
from onward import Catalog, run, unwrap
from onward.backends.celery import celery
from onward.backends.celery.signing import Signer
from tests.engines.valkey import Valkey

ROUNDS, CALLS = 20, 10
SETUPS = {"unsigned": None, "signed": [b"0" * 32], "signed, five keys": [b"0" * 32] * 5}


def main() -> None:
    signer, ticket = Signer([b"0" * 32]), b"x" * 500
    start = perf_counter()
    for _ in range(10_000):
        signer.verify(signer.sign(ticket, "ticket", "a.task"), "ticket", "a.task")
    print(f"to sign and verify 500 bytes: {(perf_counter() - start) * 100:.1f} us")
    with tempfile.TemporaryDirectory() as folder, Valkey.start(Path(folder)) as server:
        url = server.url.removesuffix("/0")
        backends = {
            name: celery(f"{url}/{number}", signing_keys=keys)
            for number, (name, keys) in enumerate(SETUPS.items())
        }
        workers = [unwrap(each.serve(Catalog(step, flow))) for each in backends.values()]
        times: dict[str, list[float]] = {name: [] for name in SETUPS}
        for _ in range(ROUNDS):
            for name, backend in backends.items():
                for _ in range(CALLS):
                    start = perf_counter()
                    unwrap(run((step >> step >> step)(1), on=backend))
                    times[name].append(perf_counter() - start)
        for name, measured in times.items():
            print(f"a chain of three, {name}: {median(measured) * 1000:.2f} ms")
        for worker in workers:
            worker.stop()


if __name__ == "__main__":
    main()
