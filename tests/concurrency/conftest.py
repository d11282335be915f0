"""Where operations are explored."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.concurrency.stage import Stage

if TYPE_CHECKING:
    from tests.support.servers import Server


@pytest.fixture
def quiet() -> Iterator[None]:
    """Let the log say nothing: refusals are what is tested."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def stage(valkey: Server, quiet: None) -> Iterator[Stage]:
    """A server on which operations are explored, with quiet logs."""
    stage = Stage(valkey)
    yield stage
    stage.close()
