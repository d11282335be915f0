"""The types of Python whose values come back as they are."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from markupsafe import Markup

JSON_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
JSON_BRANCHES: frozenset[type] = frozenset({list, dict})
JSON = JSON_SCALARS | JSON_BRANCHES

#: What a decoded value can be of that can't change in place. A tuple can: it may hold a list.
FROZEN: frozenset[type] = JSON_SCALARS | {bytes, datetime, date, timedelta, UUID, Decimal, Markup}
#: All of them.
KEPT = FROZEN | JSON_BRANCHES | {tuple, set}
