"""Starts the command again, in the same process."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def restart() -> NoReturn:
    """Restarts the command in this process, which keeps its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
