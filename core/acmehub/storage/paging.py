"""Pages of a list, newest first, by Piccolo's query builder."""

from typing import Any

from piccolo.query.methods.select import Select
from piccolo.table import Table

from acmehub.storage.piccolo_engine import Parameter, scalar
from acmehub.storage.statements import Dialect


def newest_first(
    query: Select[Any], table: type[Table], dialect: Dialect, limit: int, after: str | Parameter = ""
) -> Select[Any]:
    """The query's rows by `created` and `id`; with `after`, from beyond the row of that id (none without it)."""
    created, id = (table._meta.get_column_by_name(name) for name in ("created", "id"))
    if after:
        at = scalar(table.select(created).where(id == after), dialect)
        query = query.where(created <= at)  # what an index can use
        query = query.where((created < at) | ((created == at) & (id < after)))
    return query.order_by(created, id, ascending=False).limit(limit)
