"""``make fuzz`` in short, on every target: and that it finds what there is to find."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.load import fuzz

pytest.importorskip("atheris", reason="atheris has no wheel for this kind of machine")


@pytest.fixture(autouse=True)
def _kept(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "KEPT", tmp_path)


@pytest.mark.one_server("the targets have a server of their own kind")
@pytest.mark.timeout(1200)
def test_targets(valkey, capsys):
    """No target fails for some hundred inputs, and each takes some branches."""
    outcomes = {name: fuzz.fuzz(name, seconds=1, port=valkey.port) for name in fuzz.NAMES}

    assert not [path for outcome in outcomes.values() for path in outcome.crashes]
    assert not [name for name, outcome in outcomes.items() if not outcome.runs or not outcome.edges]


def test_every_target_is_fuzzed():
    """The list of targets names all that there are."""
    targets = (Path(__file__).with_name("targets.py")).read_text()

    assert not [name for name in fuzz.NAMES if f'    "{name}": Target(' not in targets]
    assert len(fuzz.NAMES) == targets.count('": Target(')


@pytest.mark.timeout(300)
def test_failure_is_found(capsys, tmp_path):
    """What fails for two bytes is found, and the command that is printed fails again."""
    outcome = fuzz.fuzz("canary", seconds=20, port=0)

    assert 1 == len(outcome.crashes)
    command = fuzz.again("canary", outcome.crashes[0])
    again = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=tmp_path)

    assert 0 != again.returncode
    assert "AssertionError: found" in again.stdout + again.stderr
    assert b"FZ" == outcome.crashes[0].read_bytes()[:2]
