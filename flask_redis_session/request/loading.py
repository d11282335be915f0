"""Which fields of a session an endpoint uses, learned from its requests."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

#: A request that loads everything may carry this much for nothing, in bytes, before it pays
#: to ask for fields by name.
WASTE = 4096

#: What one more round trip costs, in bytes that could have come along instead. On one machine
#: a round trip took 150 microseconds, and so did 140 KB more in an HGETALL.
ROUND_TRIP = 128 * 1024

#: How many fields are asked for by name at most; an endpoint that uses more loads everything.
MOST_FIELDS = 64
#: How long the name of a field may be to be remembered, in bytes.
LONGEST_NAME = 256
#: How many endpoints are remembered.
MOST_ENDPOINTS = 1000
#: After how many loads without use a field is forgotten.
FORGOTTEN = 64
#: After how many loads a field that was used only once is no longer asked for.
PROBATION = 8
#: How much the newest request counts in an average.
NEWEST = 1 / 8


class LoadPlan:
    """What one endpoint is going to load.

    It loads everything until that has brought much more than was used; then it asks for what
    it used before. A wrong guess costs a round trip, and is part of the next guess.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads = 0
        self._uses: dict[bytes, _Use] = {}
        # The averages of a request: bytes loaded for nothing, and round trips for what was
        # not foreseen.
        self._waste = 0.0
        self._misses = 0.0
        self._is_whole = False
        #: The fields to ask for; ``None``: all.
        self.fields: tuple[bytes, ...] | None = None

    def load_whole(self) -> None:
        """Load everything from now on: a sign-in needs it, and is to make no trip more for it."""
        with self._lock:
            self._is_whole = True
            self.fields = None

    def learn(
        self,
        used: Collection[bytes],
        misses: int,
        loaded: Mapping[bytes, bytes] | None,
        first: Collection[bytes] = (),
    ) -> None:
        """Take a request into account.

        :param used: the fields that it used.
        :param misses: how many more round trips it made than one.
        :param loaded: what it loaded, if that was everything, and at once.
        :param first: the fields that it loaded something for. What is asked for in any case
            need not be foreseen: a view may read another key in each request.
        """
        loads_all = self.fields is None and not misses and loaded is not None
        if loads_all and (len(used) > MOST_FIELDS or _size(loaded or {}) <= WASTE):
            # The usual case: so much was used, or there is so little, that it is loaded whole.
            return
        with self._lock:
            if self._is_whole:
                return
            self._loads += 1
            self._misses += (misses - self._misses) * NEWEST
            if loaded is not None:
                waste = 0 if len(used) > MOST_FIELDS else _size(loaded) - _size_of(used, loaded)
                weight = 1 if self._loads == 1 else NEWEST
                self._waste += (waste - self._waste) * weight
            for name in used:
                if len(name) <= LONGEST_NAME and name not in first:
                    self._note(name)
            self._forget()
            pays = self._waste > WASTE + self._misses * ROUND_TRIP
            self.fields = tuple(self._expected()) if pays else None

    def _note(self, name: bytes) -> None:
        use = self._uses.get(name)
        if use is None:
            self._uses[name] = _Use(self._loads)
        else:
            use.last, use.is_known = self._loads, True

    def _forget(self) -> None:
        oldest = self._loads - FORGOTTEN
        if len(self._uses) > MOST_FIELDS or self._loads % FORGOTTEN == 0:
            recent = sorted(self._uses.items(), key=lambda item: item[1].last)[-MOST_FIELDS:]
            self._uses = {name: use for name, use in recent if use.last > oldest}

    def _expected(self) -> Iterator[bytes]:
        newest = self._loads - PROBATION
        for name, use in self._uses.items():
            if use.is_known or use.last > newest:
                yield name


@dataclass(slots=True)
class _Use:
    """How an endpoint uses a field.

    :param last: the number of the load that used it last.
    :param is_known: whether it was used more than once.
    """

    last: int
    is_known: bool = False


class LoadPlans:
    """The plans of an application's endpoints, in this process."""

    def __init__(self) -> None:
        self._plans: dict[str | None, LoadPlan] = {}

    def of(self, endpoint: str | None) -> LoadPlan:
        """Return the plan of an endpoint.

        :param endpoint: its name; ``None``: of a request that none serves.
        """
        plan = self._plans.get(endpoint)
        if plan is None:
            if len(self._plans) >= MOST_ENDPOINTS:
                self._plans = {}
            plan = self._plans.setdefault(endpoint, LoadPlan())
        return plan


def _size(fields: Mapping[bytes, bytes]) -> int:
    return sum(map(len, fields)) + sum(map(len, fields.values()))


def _size_of(names: Collection[bytes], fields: Mapping[bytes, bytes]) -> int:
    return sum(len(name) + len(fields[name]) for name in names if name in fields)
