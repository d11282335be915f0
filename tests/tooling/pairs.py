"""Few combinations that hold every pair of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

#: A value for each factor.
Combination = dict[str, Any]


def every(factors: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return every combination.

    :param factors: the values of each factor.
    """
    return [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]


def tuples_in(combination: Combination, length: int = 2) -> set[tuple[tuple[str, Any], ...]]:
    """Return the pairs of values, or the triples, that a combination holds together."""
    return set(combinations(combination.items(), length))


def covering(factors: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return few combinations that together hold every two values of different factors.

    Each is one that holds the most pairs which none before it holds, and of those one that holds
    the most such triples.
    """
    candidates = every(factors)
    pairs = set().union(*map(tuples_in, candidates))
    triples = set().union(*(tuples_in(each, 3) for each in candidates))
    chosen: list[Combination] = []
    while pairs:
        best = max(
            candidates,
            key=lambda each: (len(pairs & tuples_in(each)), len(triples & tuples_in(each, 3))),
        )
        pairs -= tuples_in(best)
        triples -= tuples_in(best, 3)
        chosen.append(best)
    return chosen


def bound(factors: Mapping[str, Sequence[Any]]) -> int:
    """Return how many combinations it takes at least: the two longest factors multiplied."""
    *_, second, first = sorted(map(len, factors.values()))
    return first * second
