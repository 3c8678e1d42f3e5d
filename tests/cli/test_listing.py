"""`onward calls`, `history`, `resume`, `fork`, `forget` and `watch`, on a file that is served."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onward import Catalog, result, submit
from onward.backends.sqlite import sqlite
from tests.cli.command import mistake, onward, printed
from tests.cli.pipeline import fail, parse, summed, total, twice

PATIENCE = 120.0


@pytest.fixture
def on(tmp_path: Path) -> Iterator[str]:
    """The URL of a file with a worker, in which one call is done and three have failed."""
    path = tmp_path / "onward.db"
    backend = sqlite(path)
    worker = backend.serve(Catalog(parse, total, fail, summed, twice)).unwrap()
    refs = [
        submit(summed("1,2"), on=backend, tags=["sums"]).unwrap(),
        submit(fail("why"), on=backend, tags=["nightly", "eu"]).unwrap(),
        submit(fail("how"), on=backend, tags=["nightly"]).unwrap(),
        submit(summed("1;2"), on=backend).unwrap(),
    ]
    for ref in refs:
        result(ref, on=backend, timeout=PATIENCE)
    submit(twice(1), on=backend, delay=3600, tags=["later"]).unwrap()
    yield f"sqlite:///{path}"
    worker.stop(0)
    backend.close()


def lines(*arguments: str, folder: Path, on: str) -> list[dict[str, Any]]:
    said = printed("calls", *arguments, "--json", "--on", on, folder=folder)
    return [json.loads(line) for line in said.splitlines()]


def test_calls_are_listed_by_state_flow_tags_and_time(folder: Path, on: str) -> None:
    everything = lines(folder=folder, on=on)
    assert [each["flow"] for each in everything] == [
        "twice",
        "summed",
        "fail",
        "fail",
        "summed",
    ]
    nightly = lines("--failed", "--tag", "nightly", "--since", "1h", folder=folder, on=on)
    assert [each["fault"] for each in nightly] == ["Raised", "Raised"]
    assert [each["tags"] for each in nightly] == [["nightly"], ["nightly", "eu"]]
    assert lines("--until", "1d", folder=folder, on=on) == []
    by_target = lines("--flow", "pipeline:summed", "--state", "done", folder=folder, on=on)
    assert [each["flow"] for each in by_target] == ["summed"]
    text = printed("calls", "--flow", "fail", "--limit", "1", "--on", on, folder=folder)
    assert text.startswith(f"{nightly[0]['ref']}  failed     2")
    assert text.endswith(" UTC  fail  Raised  [nightly]\n")


def test_what_makes_no_sense_is_said_in_one_line(folder: Path, on: str) -> None:
    for arguments, says in (
        (["--state", "broken"], "a state is one of queued"),
        (["--resume", "--cancel"], "exclude each other"),
        (["--dry-run"], "go with --resume or --cancel"),
        (["--to", on], "--to goes with --resume"),
    ):
        assert says in mistake("calls", *arguments, "--on", on, folder=folder)
    done = onward("calls", "--since", "soon", "--on", on, folder=folder)
    assert done.returncode == 2
    assert "write 90s, 30m, 1h" in " ".join(done.stderr.split())
    assert "Name a broker's URL" in mistake("calls", "--on", "local://", folder=folder)


def test_history_shows_where_a_call_stopped_and_fork_and_resume_go_on_from_it(
    folder: Path, on: str
) -> None:
    [call] = lines("--flow", "summed", "--failed", folder=folder, on=on)
    ref = call["ref"]
    tree = printed("history", ref, "--on", on, folder=folder)
    assert tree.splitlines()[0] == f"summed  {ref}  failed"
    assert "✗ 0  parse" in tree
    assert 'Malformed {"text":"1;2"}' in tree
    assert "· 1  total" in tree
    data = json.loads(printed("history", ref, "--json", "--on", on, folder=folder))
    assert [step["path"] for step in data["steps"]] == ["0"]
    chart = printed("history", ref, "--mermaid", "--on", on, folder=folder)
    assert chart.startswith("flowchart TD\n")
    assert '["total"]:::ahead' in chart
    new = printed("resume", ref, "--on", on, folder=folder).strip()
    assert printed("resume", ref, "--on", on, folder=folder).strip() == new != ref
    error = printed("result", new, "--on", on, folder=folder, code=3)
    assert json.loads(error)["error"]["type"] == "Malformed"
    [done] = lines("--flow", "summed", "--state", "done", folder=folder, on=on)
    forked = printed("fork", done["ref"], "--at", "1", "--on", on, folder=folder).strip()
    assert json.loads(printed("result", forked, "--on", on, folder=folder))["value"] == 3
    watched = printed("watch", forked, "--on", on, folder=folder)
    assert "finished  total at 1, " in watched
    refused = mistake("resume", done["ref"], "--on", on, folder=folder, code=1)
    assert "nothing to resume" in refused
    unknown = mistake("fork", ref, "--at", "9", "--on", on, folder=folder, code=1)
    assert "no step of the call has begun at '9'" in unknown


def test_resume_with_other_arguments_and_more_time(folder: Path, on: str) -> None:
    [call] = lines("--flow", "summed", "--failed", folder=folder, on=on)
    resume = ["resume", call["ref"], "--on", on]
    typed = [*resume, "--flow", "pipeline:summed", "--deadline", "60"]
    assert "--args needs --flow" in mistake(*resume, "--args", "[1]", folder=folder)
    assert "a JSON list or object" in mistake(*typed, "--args", "1,2", folder=folder)
    wrong = mistake(*typed, "--args", "[5]", folder=folder, code=1)
    assert "Expected `str`" in wrong
    new = printed(*typed, "--args", '["1,2,4"]', folder=folder).strip()
    assert json.loads(printed("result", new, "--on", on, folder=folder))["value"] == 7


def test_replay_says_where_todays_code_differs(folder: Path, on: str) -> None:
    [call] = lines("--flow", "summed", "--state", "done", folder=folder, on=on)
    replay = ["replay", call["ref"], "--on", on, "--flow"]
    same = printed(*replay, "pipeline:summed", folder=folder)
    assert same == "  0  parse\n  1  total\n"
    (folder / "newer.py").write_text(
        "from pipeline import parse, total, twice\nsummed = parse >> total >> twice\n"
    )
    differs = printed(*replay, "newer:summed", folder=folder, code=3)
    assert differs.splitlines()[2] == "≠ 2  twice: the call had no step here"
    data = printed(*replay, "newer:summed", "--json", folder=folder, code=3)
    assert [json.loads(line)["difference"] for line in data.splitlines()] == [None, None, "added"]


def test_many_are_resumed_and_cancelled_after_a_dry_run_and_a_yes(folder: Path, on: str) -> None:
    chosen = ["--tag", "eu", "--failed"]
    [failed] = lines(*chosen, folder=folder, on=on)
    [planned] = lines(*chosen, "--resume", "--dry-run", folder=folder, on=on)
    assert planned["dry_run"]
    unasked = mistake("calls", *chosen, "--resume", "--on", on, folder=folder)
    assert "to resume 1 call without being asked, add --yes" in unasked
    [resumed] = lines(*chosen, "--resume", "--yes", folder=folder, on=on)
    assert resumed == {"ref": failed["ref"], "resumed": planned["resumed"]}
    later = printed("calls", "--tag", "later", "--cancel", "--yes", "--on", on, folder=folder)
    assert later.endswith("  cancelled\n")
    [cancelled] = lines("--tag", "later", folder=folder, on=on)
    assert cancelled["state"] == "cancelled"
    done = onward("calls", "--tag", "later", "--cancel", "--yes", "--on", on, folder=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert "there is no call to cancel" in done.stderr
    one_fault = onward(
        "calls", "--tag", "sums", "--state", "done", "--resume", "--yes", "--on", on, folder=folder
    )
    assert one_fault.returncode == 1
    assert "nothing to resume" in one_fault.stderr


def test_what_is_forgotten_is_gone(folder: Path, on: str) -> None:
    [call, *_] = lines("--flow", "fail", "--failed", folder=folder, on=on)
    assert printed("forget", call["ref"], "--on", on, folder=folder) == "forgotten\n"
    assert "no such call" in mistake("history", call["ref"], "--on", on, folder=folder, code=1)
    assert call["ref"] not in [each["ref"] for each in lines(folder=folder, on=on)]
