"""Which changes of tasks break calls that were made before, or workers that run beside."""

from onward.compat.comparing import Change, changes
from onward.compat.open_calls import misfits
from onward.compat.shapes import Snapshot, read, snapshot, written

__all__ = ["Change", "Snapshot", "changes", "misfits", "read", "snapshot", "written"]
