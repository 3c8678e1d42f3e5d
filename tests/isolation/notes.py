"""An observer that keeps the attempts that it sees."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from onward.observer import Attempt, Sending


class Notes:
    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def sending(self, _: Sending, /) -> AbstractContextManager[object]:
        return nullcontext()

    @contextmanager
    def attempt(self, attempt: Attempt, /) -> Generator[None]:
        yield
        self.attempts.append(attempt)
