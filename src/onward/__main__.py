"""The `onward` command, also as `python -m onward`."""

import os
import sys


def main() -> None:
    """Runs the command, or says which extra it needs."""
    # The command reports failed connections itself, so silence gRPC on stderr.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from onward.cli import app
    except ModuleNotFoundError as problem:
        missing = (problem.name or "").partition(".")[0]
        if missing not in ("rich", "typer"):
            raise
        sys.stderr.write(f'onward: {missing} is not installed: pip install "onward[cli]"\n')
        sys.exit(2)
    except KeyboardInterrupt:  # during the import
        sys.exit(130)
    try:
        app(prog_name="onward")  # also as `python -m onward`
    except Exception as problem:
        if os.environ.get("ONWARD_TRACEBACK"):
            raise
        sys.stderr.write(
            f"onward: a bug in Onward ({type(problem).__name__}): please report it, with the "
            "output of the same command with ONWARD_TRACEBACK=1 in the environment\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
