"""The statements of the audit that are written by hand, each with its reason; see `hot_statements`."""

from collections.abc import Sequence
from itertools import count

from acmehub.storage.statements import Sql

# conditions of lists, by the fields of `AuditFilter`; not LIKE, which has wildcards, and knows no capitals on SQLite;
# what finds a text in another one has a name of its own in each dialect
_CONDITIONS = {
    "object_id": "object_id = {}",
    "actor_ids": "actor_id IN ({})",
    "request": "request = {}",
    "credential": "credential = {}",
    "address": "address = {}",
    "refused": "NOT allowed",
    "actor": "({find}(actor, {}) > 0 OR actor_id || '' = {})",
    "object": "({find}(object, {}) > 0 OR object_id || '' = {})",
    "action": "(action = {} OR substr(action, 1, {}) = {})",
    "via": "via = {}",
    "actor_kind": "actor_kind = {}",
    "object_kind": "object_kind = {}",
    "since": "at >= {}",
    "until": "at < {}",
    "before": "id < {}",
    "after": "id > {}",
}
# in their order
CONDITIONS = tuple(_CONDITIONS)
_INDEXED = CONDITIONS[:6]  # the narrowest first


def page_of_audit(columns: str, given: Sequence[str], actors: int) -> Sql:
    """A list of entries by what is `given` (in the order of `CONDITIONS`), newest first, with `after` oldest first;
    values: those of the conditions, then the limit. `actors`: how many `actor_ids` there are.

    Only the narrowest condition is left to an index: without statistics SQLite takes any.
    """
    narrowest = next((name for name in _INDEXED if name in given), "")
    conditions = [_unindexed(name) if name in _INDEXED and name != narrowest else _CONDITIONS[name] for name in given]
    if "actor_ids" in given:
        at = given.index("actor_ids")
        conditions[at] = conditions[at].replace("{}", ", ".join(["{}"] * actors))
    text, numbers = " AND ".join(conditions), count(1)
    values = [f"${next(numbers)}" for _ in range(text.count("{}"))]
    limit, order = next(numbers), "" if "after" in given else " DESC"

    def page(find: str) -> Sql:
        return Sql(
            "SELECT {columns} FROM audit{where} ORDER BY id{order} LIMIT ${limit}",
            columns=columns,
            where=f" WHERE {text.format(*values, find=find)}" if text else "",
            order=order,
            limit=str(limit),
        )

    return Sql.of(sqlite=page("instr").sqlite, postgres=page("strpos").postgres)


def _unindexed(name: str) -> str:
    """The same condition, which no index is used for."""
    column, operator, value = _CONDITIONS[name].partition(" ")
    return "allowed = false" if name == "refused" else f"{column} || ''{operator}{value}"


# each round of the sealer: the system's own view. INSERT takes its lock before it takes a number, and keeps it until
# what it has written can be seen
WRITERS = Sql.of_postgres(
    "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND relation = 'audit'::regclass LIMIT 1"
)

# each seal: ON CONFLICT
KEEP_KEY = Sql("INSERT INTO seal_key (id, sealed_key) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
