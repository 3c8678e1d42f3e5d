"""What the `onward` command does; `onward.__main__` starts it."""

from onward.cli.app import app

__all__ = ["app"]
