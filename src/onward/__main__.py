"""The `onward` command, also as `python -m onward`."""

import sys


def main() -> None:
    """Runs the command, or says how to install what it needs."""
    try:
        from onward.cli import app
    except ModuleNotFoundError as problem:
        missing = (problem.name or "").partition(".")[0]
        if missing not in ("rich", "typer"):
            raise
        sys.stderr.write(f'onward: {missing} is not installed: pip install "onward[cli]"\n')
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
