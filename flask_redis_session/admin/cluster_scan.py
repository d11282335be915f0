"""In which order to scan the nodes of a cluster, so that no key that moves meanwhile is missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flask_redis_session.client.commands import Commands
from flask_redis_session.errors import StoreUnavailable

#: How many slots a cluster has.
SLOTS = 16384

_MOVED = "Slots of the cluster are on the move or without a node; run it again."


def nodes_to_scan(nodes: Sequence[Commands]) -> Iterator[Commands]:
    """Yield the nodes of a cluster in the order in which to scan them.

    :param nodes: every primary.
    :raises StoreUnavailable: if a slot has no node, if there is no such order, if slots moved
        while the nodes were scanned, or if a node fails.
    """
    slots = _slots_of_all(nodes)
    if any(held.gives and held.takes for held in slots):
        raise StoreUnavailable(_MOVED)
    # A key that has left a node before that node is scanned is on one that comes later.
    pairs = zip(nodes, slots, strict=True)
    yield from (node for node, _ in sorted(pairs, key=lambda pair: pair[1].takes))
    if _slots_of_all(nodes) != slots:
        raise StoreUnavailable(_MOVED)


class _Slots(NamedTuple):
    """What a node says about its slots.

    :param epoch: a number that grows with each slot that the node takes over.
    :param ranges: the slots that it holds, and those that it is giving away or taking over.
    """

    epoch: bytes
    ranges: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many slots it holds."""
        ends = [each.split(b"-") for each in self.ranges if not each.startswith(b"[")]
        return sum(int(each[-1]) - int(each[0]) + 1 for each in ends)

    @property
    def gives(self) -> bool:
        """Whether some of its keys are going to another node."""
        return any(b"->-" in each for each in self.ranges)

    @property
    def takes(self) -> bool:
        """Whether some keys of another node are coming to it."""
        return any(b"-<-" in each for each in self.ranges)


def _slots_of_all(nodes: Sequence[Commands]) -> list[_Slots]:
    slots = [_slots_of(node) for node in nodes]
    if sum(held.size for held in slots) != SLOTS:
        raise StoreUnavailable(_MOVED)
    return slots


def _slots_of(node: Commands) -> _Slots:
    return node.understood(_slots_in, node.call(("CLUSTER", "NODES")))


def _slots_in(reply: bytes) -> _Slots:
    (itself,) = (line.split() for line in reply.splitlines() if b"myself" in line)
    return _Slots(itself[6], tuple(itself[8:]))
