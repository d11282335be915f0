"""The slots of a cluster, and whether each key is met where all its nodes are gone through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flask_redis_session.client.commands import Commands
from flask_redis_session.errors import StoreUnavailable

#: How many slots a cluster has.
SLOTS = 16384

_MOVED = "Slots of the cluster are on the move or without a node; run it again."


class Holding(NamedTuple):
    """What a node says of itself.

    :param epoch: what grows with each slot that it takes over.
    :param slots: what it holds, and what it is giving to another or taking from one.
    """

    epoch: bytes
    slots: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many slots it holds."""
        ranges = [slots.split(b"-") for slots in self.slots if not slots.startswith(b"[")]
        return sum(int(each[-1]) - int(each[0]) + 1 for each in ranges)

    @property
    def gives(self) -> bool:
        """Whether keys of its go to another node."""
        return any(b"->-" in slot for slot in self.slots)

    @property
    def takes(self) -> bool:
        """Whether keys of another node come to it."""
        return any(b"-<-" in slot for slot in self.slots)


def holdings(nodes: Sequence[Commands]) -> list[Holding]:
    """Return what each node of a cluster says of itself.

    :param nodes: the nodes.
    :raises StoreUnavailable: where they do not hold all slots, or a node fails.
    """
    found = [_holding(node) for node in nodes]
    if sum(holding.size for holding in found) != SLOTS:
        raise StoreUnavailable(_MOVED)
    return found


def in_order(nodes: Sequence[Commands], held: Sequence[Holding]) -> list[Commands]:
    """Return the nodes in an order in which no key that moves meanwhile is missed.

    :param nodes: the nodes.
    :param held: what each holds.
    :raises StoreUnavailable: where there is none.
    """
    if any(holding.gives and holding.takes for holding in held):
        raise StoreUnavailable(_MOVED)
    # What has left a node before it is looked at is with one that comes later.
    pairs = zip(nodes, held, strict=True)
    return [node for node, _ in sorted(pairs, key=lambda pair: pair[1].takes)]


def ensure_same(nodes: Sequence[Commands], held: Sequence[Holding]) -> None:
    """Make sure that the nodes hold what they held.

    :param nodes: the nodes.
    :param held: what each held.
    :raises StoreUnavailable: where one does not.
    """
    if holdings(nodes) != held:
        raise StoreUnavailable(_MOVED)


def _holding(node: Commands) -> Holding:
    reply: bytes = node.call(("CLUSTER", "NODES"))
    itself = next(line for line in reply.splitlines() if b"myself" in line).split()
    return Holding(itself[6], tuple(itself[8:]))
