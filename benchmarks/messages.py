"""Flash messages in every order of four requests: ``python -m benchmarks.messages``.

Two requests flash a message and two show what there is, all of one session that holds one more.
Each loads the session and commits. Every order of their commands is run on a real server: with
merges there are more of them, as a conflict sends one command more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.concurrency.messages import FLASH, FLASHES, OLD, SHOW, became
from tests.concurrency.situations import Held, Situation
from tests.concurrency.stage import Stage, World
from tests.support.servers import Server

#: Somebody's session that was touched just now: no index is touched.
TOLD = Situation("told", (Held("A", "23", {"theme": "dark", FLASHES: [OLD]}, seen=1.0),))


class Rules(dict[str, Any]):
    """A setting by which workers are told apart."""

    __hash__ = object.__hash__  # type: ignore[assignment]


WAYS = {
    "the last write wins": (("SESSION_MERGE", Rules({FLASHES: None})),),
    "merged": (),
}


def main() -> None:
    """Print a line for each way."""
    with Server() as server:
        for way, settings in WAYS.items():
            lost: list[bool] = []
            again: list[bool] = []

            def count(world: World, lost: list[bool] = lost, again: list[bool] = again) -> None:
                found = became(world)
                lost.append(bool(found.lost))
                again.append(bool(found.again))

            stage = Stage(server)
            group = [replace(each, settings=settings) for each in (FLASH, FLASH, SHOW, SHOW)]
            orders = stage.explore(TOLD, *group, check=count).orders
            stage.close()
            print(
                f"{way}: of {orders:,} orders something is lost in {sum(lost):,}, "
                f"and a message that was shown comes back in {sum(again):,}"
            )


if __name__ == "__main__":
    main()
