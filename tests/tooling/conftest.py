"""What the examples of the guides run in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.examples import Shop, open_shop


@pytest.fixture
def shop(server: Any) -> Shop:
    """An application on the server."""
    return open_shop(server)
