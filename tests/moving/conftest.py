"""Versions of Flask-Session's, each in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS = ("0.7.0", "0.8.0")


@pytest.fixture(scope="session", params=VERSIONS)
def flask_session_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a version of Flask-Session's from PyPI."""
    folder = tmp_path_factory.mktemp("flask-session")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run(
        [*pip, f"flask-session=={request.param}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"Flask-Session {request.param} cannot be installed: {done.stderr[-300:]}")
    return folder
