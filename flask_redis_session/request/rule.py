"""How one value becomes of three: what a request read, what it made of it, and what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from .codec import decode, encode

#: Returns what becomes of a key: ``rule(base, mine, theirs)``. ``None`` is no value.
Rule = Callable[[Any, Any, Any], Any]

#: A key of a dict that is not there.
_ABSENT = object()


def merged(base: Any, mine: Any, theirs: Any) -> Any:
    """Return what two changes of one value come to; the built-in rule of ``SESSION_MERGE``.

    Of a list, a tuple or a set, what either side removed is gone, and what either side added is
    there; what both added is there once. The order is that of ``theirs``, followed by what is new
    in ``mine``. Dicts are merged key by key, at any depth; a key that one side removed and the
    other one changed stays. Of any other values ``mine`` counts. Elements are equal if their JSON
    texts are. The arguments are not changed, and the result shares nothing with them.

    :param base: what the request read; ``None``: nothing.
    :param mine: what it made of it; ``None``: it removed it.
    :param theirs: what another request has stored since; ``None``: it removed it.
    :raises UnstorableValue: if one of them has no form in Redis.
    """
    texts = [encode("merged()", value) for value in (base, mine, theirs)]
    was, here, there = map(decode, texts)
    if texts[1] == texts[0]:
        return there
    if texts[2] in texts[:2]:
        return here
    if here is not None and there is not None:
        return _of_values(was, here, there)
    # One side removed it all.
    left = there if here is None else here
    if type(left) not in _OF_KIND:
        return left
    none = type(left)()
    merge = _OF_KIND[type(left)]
    return merge(was, none if here is None else here, none if there is None else there) or None


def _of_values(base: Any, mine: Any, theirs: Any) -> Any:
    """Merge values that both sides have."""
    kind = type(mine)
    if kind is type(theirs) and kind in _OF_KIND:
        return _OF_KIND[kind](base, mine, theirs)
    texts = [*_texts([mine, theirs]), None if base is _ABSENT else _text(base)]
    return theirs if texts[0] == texts[2] else mine


def _of_sequences(base: Any, mine: Any, theirs: Any) -> Any:
    kind = type(mine)
    here, there = _texts(mine), _texts(theirs)
    before = _texts(base) if type(base) is kind else []
    if here == before:
        return theirs
    if there == before:
        return mine
    was, ours, others = Counter(before), Counter(here), Counter(there)
    # How many of each are to go from theirs, or to come from mine.
    fewer, more = Counter[bytes](), Counter[bytes]()
    for text in {*was, *ours, *others}:
        added, change = ours[text] - was[text], others[text] - was[text]
        if added * change > 0:
            # Both did the same: that is one change, the greater one.
            added = max(added - change, 0) if added > 0 else min(added - change, 0)
        if added < 0:
            fewer[text] = -added
        else:
            more[text] = added
    return kind([*_without(theirs, there, fewer), *_last(mine, here, more)])


def _without(items: Iterable[Any], texts: Iterable[bytes], fewer: Counter[bytes]) -> list[Any]:
    """Return a sequence without so many of each: the first ones, which were there before."""
    kept = []
    for item, text in zip(items, texts, strict=True):
        if fewer[text] > 0:
            fewer[text] -= 1
        else:
            kept.append(item)
    return kept


def _last(items: Collection[Any], texts: list[bytes], more: Counter[bytes]) -> list[Any]:
    """Return the last so many of each in a sequence, in its order."""
    skipped = Counter(texts)
    skipped.subtract(more)
    return _without(items, texts, skipped)


def _of_sets(base: Any, mine: Any, theirs: Any) -> Any:
    was, here, there = (
        dict(zip(_texts(items), items, strict=True)) if type(items) is set else {}
        for items in (base, mine, theirs)
    )
    kept = [item for text, item in there.items() if text in here or text not in was]
    return {*kept, *(item for text, item in here.items() if text not in was)}


def _of_dicts(base: Any, mine: Any, theirs: Any) -> Any:
    was, here, there = (
        {_name(key): (key, value) for key, value in (each.items() if type(each) is dict else ())}
        for each in (base, mine, theirs)
    )
    found = {}
    for name in (*there, *(name for name in here if name not in there)):
        key, _ = there[name] if name in there else here[name]
        sides = (each.get(name, (key, _ABSENT))[1] for each in (was, here, there))
        value = _under_key(*sides)
        if value is not _ABSENT:
            found[key] = value
    return found


def _under_key(base: Any, mine: Any, theirs: Any) -> Any:
    """Merge what two dicts have under one key."""
    if mine is not _ABSENT and theirs is not _ABSENT:
        return _of_values(base, mine, theirs)
    left = theirs if mine is _ABSENT else mine
    # It was removed, unless it is another one than was seen then.
    return _ABSENT if base is not _ABSENT and _text(base) == _text(left) else left


def _name(key: Any) -> Any:
    # A dict finds True under 1.
    return key if type(key) is str else _text(key)


def _text(value: Any) -> bytes:
    return encode("merged()", value)


def _texts(values: Iterable[Any]) -> list[bytes]:
    return [*map(_text, values)]


_OF_KIND: dict[type, Rule] = {
    list: _of_sequences,
    tuple: _of_sequences,
    set: _of_sets,
    dict: _of_dicts,
}
