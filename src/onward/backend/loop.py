"""An event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from onward.fault import CLOSED

T = TypeVar("T")


_LONGEST_END = 35.0
"""How long the end of a loop may take, in seconds."""


class LoopThread:
    """An event loop on a thread of its own, for a client that must stay on one loop.

    The thread starts when it is first needed. It ends with `close`, with the interpreter, or when
    nothing refers to this object any more.

    Args:
        name: The thread's name.
        linger: How long the loop runs on after it was told to end, in seconds. A client's native
            threads may be about to call into Python. If one does so while the interpreter shuts
            down, the process crashes.
        end: What is still awaited on the loop when it is told to end, for at most `_LONGEST_END`
            seconds. It must not refer to this object.
        at_exit: Whether it ends by itself when the program ends; False if something else ends it.
    """

    def __init__(
        self,
        name: str,
        linger: float = 0.0,
        end: Callable[[], Coroutine[Any, Any, None]] | None = None,
        at_exit: bool = True,
    ) -> None:
        self._at_exit = at_exit
        self._name = name
        self._linger = linger
        self._end = end
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._is_closed = False
        self._process = os.getpid()
        self._stop: (
            weakref.finalize[
                [asyncio.AbstractEventLoop, threading.Thread, threading.Event], LoopThread
            ]
            | None
        ) = None

    def start(self, start: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        """Starts a coroutine on the loop, and the loop if it is not running; raises `Closed`."""
        with self._lock:
            if self._is_closed:
                raise Closed(CLOSED)
            if self._process != os.getpid():
                raise Closed(
                    "this process was forked from the one that made the backend, and does not "
                    "have its threads: make another backend after the fork"
                )
            if self._running is None:
                loop = asyncio.new_event_loop()
                has_ended = threading.Event()
                thread = threading.Thread(
                    target=_run_loop,
                    args=(loop, self._linger, self._end, has_ended),
                    name=self._name,
                    daemon=True,
                )
                thread.start()
                self._running = loop, thread
                # The thread and the finalizer must not refer to this object, or it is never freed.
                self._stop = weakref.finalize(self, _stop_loop, loop, thread, has_ended)
                self._stop.atexit = self._at_exit
            return asyncio.run_coroutine_threadsafe(_started(start), self._running[0])

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    @property
    def is_running(self) -> bool:
        """Whether its loop has been needed so far, in this process, and it was not closed."""
        has_begun = self._running is not None and self._process == os.getpid()
        return has_begun and not self._is_closed

    def is_this_thread(self) -> bool:
        """Whether the caller runs on the loop's own thread."""
        return self._running is not None and self._running[1] is threading.current_thread()

    def call(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine on the loop while the caller blocks; raises `Closed`."""
        future = self.start(start)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Closed(CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    async def run(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine on the loop while the caller awaits, on whichever loop; `Closed`."""
        if self.is_this_thread():
            return await start()
        future = self.start(start)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._is_closed:
                raise Closed(CLOSED) from None
            raise

    def close(self) -> None:
        """Ends the loop and its thread for good, and cancels what runs on it."""
        with self._lock:
            self._is_closed = True
        if self._stop is not None:
            self._stop()

    def abandon(self) -> None:
        """Lets go of the loop without an end, because something blocks its thread."""
        with self._lock:
            self._is_closed = True
        if self._stop is not None:
            self._stop.detach()


class Closed(Exception):
    """The loop thread was closed, or belongs to another process."""


async def _started(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await start()


def _run_loop(
    loop: asyncio.AbstractEventLoop,
    linger: float,
    end: Callable[[], Coroutine[Any, Any, None]] | None,
    has_ended: threading.Event,
) -> None:
    asyncio.set_event_loop(loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                # A task that a step started raised this, and asyncio stopped the loop. The step
                # gets the exception; the loop must run on for the others.
                continue
        if end is not None:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):  # raised by a step
                loop.run_until_complete(end())
        has_ended.set()
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.sleep(linger))
    finally:
        has_ended.set()
        loop.close()


def _stop_loop(
    loop: asyncio.AbstractEventLoop, thread: threading.Thread, has_ended: threading.Event
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        has_ended.wait(_LONGEST_END)
        thread.join(timeout=1)  # a step may refuse to be cancelled
