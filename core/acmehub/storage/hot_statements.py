"""The statements that are written by hand, each with its reason; every other one comes from Piccolo's query builder.
Those of limits and of the schema stand in `rate_limits` and `schema_steps`.

They are on the path of each request or step, where a reader of a plan or a log should find the text in one place, or
Piccolo does not build them. Those with columns are functions that a noun calls once, when the store is made. `$1`,
`{lock}` and `{skip}`: see `Sql`.
"""

import re
from collections.abc import Sequence

from piccolo.columns import Column
from piccolo.columns.combination import WhereRaw

from acmehub.storage.statements import Sql

# ------------------------------------------------------------------------------------------------------- accounts

_ACTOR = (
    "FROM account AS a JOIN token AS t ON t.id = a.token_id JOIN principal AS p ON p.id = t.principal_id"
    " WHERE a.id = $1"
)

# each signed request: whether the rows of a cached actor are unchanged; Piccolo joins by LEFT JOIN only
ACTOR_VERSIONS = Sql("SELECT a.version, t.version, p.version {joined}", joined=_ACTOR)


def actor(account: str, token: str, principal: str) -> Sql:
    """The first request of an account: its three rows in one read; columns with aliases `a`, `t`, `p`."""
    return Sql("SELECT {columns} {joined}", columns=f"{account}, {token}, {principal}", joined=_ACTOR)


# --------------------------------------------------------------------------------------------------------- orders

# each write of an order: Piccolo does not build a row lock for SQLite, which needs none
LOCK_ORDER = Sql("SELECT version FROM orders WHERE id = $1 {lock}")


def same_csr(columns: str) -> Sql:
    """Each finalize: Piccolo builds no index's expression. Values: account, CSR, and since when.

    SQLite is told the index: without statistics it walks through all valid orders.
    """
    text = (
        "SELECT {columns} FROM orders {by} WHERE account_id = $1 AND csr = $2 AND {end} AND status = 'valid'"
        " AND created >= $3 ORDER BY created DESC, id DESC LIMIT 1"
    )
    parts = {"columns": columns, "end": "substr(csr, (length(csr) - 31)) = substr($2, (length($2) - 31))"}
    return Sql.of(
        sqlite=Sql(text, by="INDEXED BY orders_csr", **parts).sqlite, postgres=Sql(text, by="", **parts).postgres
    )


def bundle(order: str, authorization: str) -> Sql:
    """An order that is not cached: Piccolo does not join against a foreign key; columns with aliases `o`, `a`."""
    return Sql(
        "SELECT {order}, {authorization} FROM orders AS o LEFT JOIN authorization_ AS a ON a.order_id = o.id"
        " WHERE o.id = $1",
        order=order,
        authorization=authorization,
    )


def insert(table: str, columns: Sequence[str]) -> Sql:
    """Each new row: Piccolo makes an object per row and a text per insert; values in the order of `columns`."""
    return Sql(
        "INSERT INTO {table} ({columns}) VALUES ({values})",
        table=table,
        columns=", ".join(f'"{name}"' for name in columns),
        values=", ".join(f"${number}" for number in range(1, len(columns) + 1)),
    )


def update(table: str, columns: Sequence[str], *, locked: bool) -> Sql:
    """Each change of a row: one kept text per set of columns; values are these, then id and the version that was read.

    Gives the id back when the version still held. A row that this transaction has locked and read cannot have changed:
    `locked` saves the answer, which costs SQLite a third of the statement.
    """
    sets = [f'"{name}" = ${number}' for number, name in enumerate(columns, 1)]
    return Sql(
        "UPDATE {table} SET {sets} WHERE id = ${id} AND version = ${version}{returning}",
        table=table,
        sets=", ".join([*sets, "version = version + 1"]),
        id=str(len(columns) + 1),
        version=str(len(columns) + 2),
        returning="" if locked else " RETURNING id",
    )


# lists of orders, by the fields of `OrderFilter`: Piccolo correlates no subquery, and has no CROSS JOIN
_ORDERS = {
    "name": "o.id = a.order_id AND lower(a.identifier) = {} AND a.wildcard = {}",
    "challenge_id": "o.id IN (SELECT t.order_id FROM txt_record AS t WHERE t.managed_challenge_id = {})",
    "unfinished": "o.stage NOT IN ('done', 'failed')",
    "account_id": "o.account_id = {}",
    "token_id": "o.token_id = {}",
    "principal_id": "o.principal_id = {}",
    "status": "o.status = {}",
    "authority_id": "o.authority_id = {}",
    "stage": "o.stage || '' = {}",
    "since": "o.created >= {}",
    "failing": "o.attempts > 0 AND coalesce((SELECT e.kind FROM event AS e WHERE e.order_id = o.id"
    " ORDER BY e.id DESC LIMIT 1), '') <> {}",
    "after": "o.created <= (SELECT created FROM orders WHERE id = {}) AND (o.created < (SELECT created FROM orders"
    " WHERE id = {}) OR o.id < {})",
}
_CERTIFICATES = {
    "name": "c.id = n.certificate_id AND n.name = {}",
    "principal_id": "c.account_id IN (SELECT a.id FROM account AS a WHERE a.principal_id = {})",
    "token_id": "c.account_id IN (SELECT a.id FROM account AS a WHERE a.token_id = {})",
    "authority_id": "c.authority_id = {}",
    "ends_before": "c.not_after <= {}",
    "uncovered": "c.revoked IS NULL AND c.name_set IS NOT NULL AND NOT EXISTS (SELECT 1 FROM certificate AS d"
    " WHERE d.name_set = c.name_set AND d.not_after >= c.not_after AND (d.not_after > c.not_after OR d.id > c.id)"
    " AND d.revoked IS NULL)",
    "after": "c.created <= (SELECT created FROM certificate WHERE id = {}) AND (c.created < (SELECT created"
    " FROM certificate WHERE id = {}) OR c.id < {})",
    "beyond": "c.not_after >= (SELECT not_after FROM certificate WHERE id = {}) AND (c.not_after > (SELECT not_after"
    " FROM certificate WHERE id = {}) OR c.id > {})",
}
_NARROW = ("name", "challenge_id", "unfinished", "account_id", "token_id", "principal_id", "status", "authority_id")


def page_of_orders(columns: str, given: Sequence[str]) -> Sql:
    """A list of orders by what is `given`, newest first; values: those of the conditions in this order, then the limit.

    Only the narrowest condition is left to an index: without statistics SQLite takes any. CROSS JOIN has it begin with
    the few authorizations of a name.
    """
    best = next((name for name in _NARROW if name in given), "")
    texts = [_ORDERS[name] if name in (best, "unfinished") else _unindexed(_ORDERS[name]) for name in given]
    source = "authorization_ AS a CROSS JOIN orders AS o" if "name" in given else "orders AS o"
    return _page(columns, "orders", f"o.id FROM {source}", texts, "{}.created DESC, {}.id DESC", "o")


def page_of_certificates(columns: str, given: Sequence[str]) -> Sql:
    """A list of certificates by what is `given`, newest first, or by their end where that is given; see
    `page_of_orders`."""
    by_end = "ends_before" in given
    texts = [_unindexed(_CERTIFICATES[name]) if by_end else _CERTIFICATES[name] for name in given]
    source = "certificate_name AS n CROSS JOIN certificate AS c" if "name" in given else "certificate AS c"
    order = "{}.not_after, {}.id" if by_end else "{}.created DESC, {}.id DESC"
    return _page(columns, "certificate", f"c.id FROM {source}", texts, order, "c")


def _unindexed(condition: str) -> str:
    """The same condition on one column, which no index is used for."""
    return re.sub(r"^(\w\.\w+_id|o\.status) (=|IN)", r"\1 || '' \2", condition)


def _page(columns: str, table: str, ids: str, conditions: Sequence[str], order: str, alias: str) -> Sql:
    """The ids are found first, so that nothing but them is sorted; columns with alias `page`."""
    text = " AND ".join(conditions)
    numbers = [f"${number}" for number in range(1, text.count("{}") + 2)]
    return Sql(
        "SELECT {columns} FROM {table} AS page WHERE page.id IN"
        " (SELECT {ids}{where} ORDER BY {order} LIMIT {limit}) ORDER BY {outer}",
        columns=columns,
        table=table,
        ids=ids,
        where=f" WHERE {text.format(*numbers)}" if text else "",
        order=order.format(alias, alias),
        outer=order.format("page", "page"),
        limit=numbers[-1],
    )


# after an upgrade: Piccolo correlates no subquery
FILL_NAME_SETS = Sql(
    "UPDATE certificate SET name_set = (SELECT o.name_set FROM orders AS o WHERE o.id = certificate.order_id)"
    " WHERE id IN (SELECT id FROM certificate WHERE name_set IS NULL ORDER BY id LIMIT $1 {skip}) RETURNING id"
)

# each end of a single-flight lock: passes locked rows over, see `LOCK_ORDER`
WAKE_WAITING = Sql(
    "UPDATE orders SET run_at = $1, version = version + 1 WHERE id IN (SELECT id FROM orders"
    " WHERE name_set = $2 AND authority_id = $3 AND stage = 'ordering' AND run_at > $1 AND id <> $4 {skip})"
    " RETURNING id, version"
)


MOST_KINDS = 12
# each change of an authority or a managed challenge: Piccolo correlates no subquery; passes locked rows over. Values:
# now; an authority's id or ''; a managed challenge's id or '' (an order without TXT records may wait for any); kinds
WAKE_WAITING_AFTER = Sql(
    "UPDATE orders SET run_at = $1, version = version + 1 WHERE id IN (SELECT id FROM orders"
    " WHERE run_at > $1 AND attempts > 0 AND ($2 = '' OR authority_id = $2)"
    " AND (SELECT e.kind FROM event AS e WHERE e.order_id = orders.id ORDER BY e.id DESC LIMIT 1) IN ({kinds})"
    " AND ($3 = '' OR NOT EXISTS ({records} AND t.state <> 'remove')"
    " OR EXISTS ({records} AND t.managed_challenge_id = $3)) {skip}) RETURNING id, version",
    records="SELECT 1 FROM txt_record AS t WHERE t.order_id = orders.id",
    kinds=", ".join(f"${number}" for number in range(4, 4 + MOST_KINDS)),
)


def claim_orders(columns: str) -> Sql:
    """Each round of the worker: passes locked rows over, see `LOCK_ORDER`, and orders of groups that are full.

    The index `orders_claim` gives the oldest orders first. All that is asked of them stands in it, so that what is not
    due, or passed over, costs no reading of rows.
    """
    return Sql(
        "UPDATE orders SET lease_owner = $1, lease_until = $2, fence = fence + 1, version = version + 1"
        " WHERE id IN (SELECT id FROM orders WHERE run_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)"
        "{unless} ORDER BY created LIMIT $4 {skip}) RETURNING {columns}",
        unless=_unless_in("$5", "authority_id", "mode", "principal_id", "authority_id || ' ' || mode"),
        columns=columns,
    )


def _unless_in(groups: str, *values: str) -> str:
    """The condition that none of `values` is one of the `groups` (`|one||other|`); the words are both dialects'."""
    return "".join(f" AND replace({groups}, '|' || {value} || '|', '') = {groups}" for value in values)


# each renewal of a lease, for each order under way
RENEW_LEASE = Sql(
    "UPDATE orders SET lease_until = $1, version = version + 1"
    " WHERE id = $2 AND fence = $3 AND lease_owner IS NOT NULL RETURNING id"
)

# each start of a worker: Piccolo has no UNION
LEASE_OWNERS = Sql(
    "SELECT lease_owner FROM orders WHERE lease_until IS NOT NULL"
    " UNION SELECT lease_owner FROM txt_record WHERE state = 'remove' AND lease_owner IS NOT NULL"
    " UNION SELECT lease_owner FROM certificate WHERE lease_owner IS NOT NULL"
    " UNION SELECT lease_owner FROM zone_lease WHERE lease_until > $1"
)

# each start of a worker, for each owner that is dead: a sum in SET, as in each change of a row
END_ORDER_LEASES = Sql(
    "UPDATE orders SET lease_owner = NULL, lease_until = NULL, version = version + 1"
    " WHERE lease_until IS NOT NULL AND lease_owner = $1"
)

# as `END_ORDER_LEASES`
END_REMOVAL_LEASES = Sql(
    "UPDATE txt_record SET lease_owner = NULL, lease_until = NULL, version = version + 1"
    " WHERE state = 'remove' AND lease_owner = $1"
)

# as `END_ORDER_LEASES`; what the owner asked for is due at once
END_WINDOW_LEASES = Sql(
    "UPDATE certificate SET lease_owner = NULL, window_until = $1, version = version + 1 WHERE lease_owner = $2"
)

# as `END_ORDER_LEASES`
END_ZONE_LEASES = Sql("UPDATE zone_lease SET lease_until = $1 WHERE lease_owner = $2 AND lease_until > $1")

# each round of the worker: Piccolo has no UNION; the first half reads the head of an index. Values: the time; a time
# before, and one after, all leases: without statistics PostgreSQL takes all rows for leased, but few for between two
NEXT_DUE_ORDER = Sql(
    "SELECT min(due) FROM (SELECT due FROM (SELECT run_at AS due FROM orders"
    " WHERE run_at > $1 AND lease_until IS NULL ORDER BY run_at LIMIT 1) AS free"
    " UNION ALL SELECT CASE WHEN lease_until > run_at THEN lease_until ELSE run_at END AS due FROM orders"
    " WHERE run_at IS NOT NULL AND lease_until > $2 AND lease_until < $3) AS both_halves WHERE due > $1"
)

# pruning: Piccolo has no NOT EXISTS, and NOT IN would read all certificates that are valid
OVER_ORDERS = Sql(
    "SELECT o.id FROM orders AS o WHERE o.created < $1 AND o.stage IN ('done', 'failed')"
    " AND NOT EXISTS (SELECT 1 FROM certificate AS c WHERE c.order_id = o.id AND c.not_after >= $1)"
    " AND NOT EXISTS (SELECT 1 FROM txt_record AS t WHERE t.order_id = o.id)"
    " ORDER BY o.created, o.id LIMIT $2"
)


def lasting_authorizations(authorization: str) -> Sql:
    """Proofs of one name, with alias `held`, and the mode: Piccolo builds neither `lower` nor a subquery in FROM.

    The inner query ends after as many rows as are asked for, whatever the account has; its index gives them in order.
    """
    return Sql(
        "SELECT {authorization}, o.mode FROM (SELECT * FROM authorization_ WHERE account_id = $1"
        " AND lower(identifier) = $2 AND wildcard = $3 AND status = 'valid' ORDER BY expires DESC LIMIT $4) AS held"
        " JOIN orders AS o ON o.id = held.order_id WHERE o.created >= $5 ORDER BY held.expires DESC, o.created DESC",
        authorization=authorization,
    )


AT_ONCE = 50


def latest_events(columns: str) -> Sql:
    """The last words about orders: Piccolo does not build `replace`. Values: kinds (`|one||other|`), ids."""
    return Sql(
        "SELECT {columns} FROM event AS e WHERE e.id IN (SELECT max(id) FROM event WHERE order_id IN ({ids})"
        " AND replace($1, '|' || kind || '|', '') <> $1 GROUP BY order_id)",
        columns=columns,
        ids=", ".join(f"${number}" for number in range(2, 2 + AT_ONCE)),
    )


# pruning of timelines: Piccolo does not join against a foreign key
NEXT_EVENTS = Sql(
    "SELECT e.id, e.at, o.stage FROM event AS e JOIN orders AS o ON o.id = e.order_id"
    " WHERE e.id > $1 ORDER BY e.id LIMIT $2"
)

# ---------------------------------------------------------------------------------------------------- TXT records

# each end of an order's challenges
SCHEDULE_REMOVAL = Sql(
    "UPDATE txt_record SET state = 'remove', run_at = coalesce(run_at, created), attempts = 0,"
    " version = version + 1 WHERE order_id = $1 AND state <> 'remove'"
)

_DUE = "coalesce(run_at, created)"


def claim_removals(columns: str) -> Sql:
    """Each round of the TXT cleanup: passes locked rows over, see `LOCK_ORDER`, and challenges that are full."""
    return Sql(
        "UPDATE txt_record SET lease_owner = $1, lease_until = $2, version = version + 1 WHERE id IN"
        " (SELECT id FROM txt_record WHERE state = 'remove' AND {due} <= $3"
        " AND (lease_until IS NULL OR lease_until <= $3){unless} ORDER BY {due} LIMIT $4 {skip}) RETURNING {columns}",
        unless=_unless_in("$5", "managed_challenge_id"),
        columns=columns,
        due=_DUE,
    )


REMOVALS = 32
# each round of the TXT cleanup that found something: an IN list
NEEDED_RECORDS = Sql(
    "SELECT zone, name, value FROM txt_record WHERE value IN ({values}) AND state <> 'remove'",
    values=", ".join(f"${number}" for number in range(1, REMOVALS + 1)),
)

# each round of the TXT cleanup: the order of `claim_removals`
NEXT_DUE_REMOVAL = Sql(
    "SELECT min(due) FROM (SELECT CASE WHEN lease_until > {due} THEN lease_until ELSE {due} END AS due"
    " FROM txt_record WHERE state = 'remove') AS removals WHERE due > $1",
    due=_DUE,
)

# each record that a provider writes which replaces whole record sets: a sum and a condition in ON CONFLICT
TAKE_ZONE = Sql(
    "INSERT INTO zone_lease (place, fence, lease_owner, lease_until) VALUES ($1, 1, $2, $3) ON CONFLICT (place)"
    " DO UPDATE SET fence = zone_lease.fence + 1, lease_owner = excluded.lease_owner,"
    " lease_until = excluded.lease_until WHERE zone_lease.lease_until <= $4 RETURNING fence"
)

# after each such record
END_ZONE = Sql("UPDATE zone_lease SET lease_until = $3 WHERE place = $1 AND fence = $2 RETURNING fence")

# ----------------------------------------------------------------------------------------------------------- audit


def contains(column: Column, text: str) -> WhereRaw:
    """The condition of an audit list: LIKE has wildcards, and knows no capitals on SQLite."""
    name = column._meta.name
    return WhereRaw(f"replace({name}, {{}}, '') <> {name}", text)


def is_or_begins(column: Column, text: str, separator: str) -> WhereRaw:
    """The condition of an audit list, for a name or all below it; not LIKE, as in `contains`."""
    name, begin = column._meta.name, f"{text}{separator}"
    return WhereRaw(f"({name} = {{}} OR substr({name}, 1, {{}}) = {{}})", text, len(begin), begin)


# ------------------------------------------------------------------------------------------------ resources, nonces

# each change of a resource: a sum in ON CONFLICT
BUMP = Sql(
    "INSERT INTO revision (name, value) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = revision.value + 1"
)

# each ping: there is no such row, so that it writes none, and it is refused where none could be written
TOUCH = Sql("UPDATE revision SET value = value WHERE name = ''")

# each request that needs a resource: whether any was changed since; revisions only grow
SUM_REVISIONS = Sql("SELECT sum(value) FROM revision")

# and if so, of which kind
READ_REVISIONS = Sql("SELECT name, value FROM revision")

# PostgreSQL: nobody waits for the commit of such a statement, and a crash of the server may forget it
NOT_DURABLE = "set_config('synchronous_commit', 'off', true)"
_USE_NONCE = "INSERT INTO used_nonce (nonce, expires) {values} ON CONFLICT (nonce) DO NOTHING RETURNING nonce"

# each signed request whose actor is read first, where several processes share the storage; not durable
USE_NONCE = Sql.of(
    sqlite=_USE_NONCE.format(values="VALUES (?1, ?2)"),
    postgres=Sql.of_postgres(
        "WITH used AS ({use}) SELECT nonce, {not_durable} FROM used",
        use=_USE_NONCE.format(values="VALUES ($1, $2)"),
        not_durable=NOT_DURABLE,
    ).postgres,
)

# each other signed request, in one round trip; not durable. Values: account, nonce, its end, and the versions of the
# three rows of the actor
USE_NONCE_BY = Sql.of_postgres(
    "WITH actor AS (SELECT a.version = $4 AND t.version = $5 AND p.version = $6 AS is_same {joined}), used AS ({use})"
    " SELECT is_same, EXISTS (SELECT 1 FROM used), (SELECT sum(value) FROM revision)::bigint, {not_durable} FROM actor",
    joined=_ACTOR,
    use=_USE_NONCE.format(values="SELECT $2, $3 FROM actor WHERE is_same"),
    not_durable=NOT_DURABLE,
)
