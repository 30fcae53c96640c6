"""Statements of lists and of figures for operators: Piccolo correlates no subquery, and has no CROSS JOIN, no set as
one value and no GROUP BY of an expression.

A filter that several may hold of is left to no index but its narrowest condition: without statistics SQLite takes any.
`IN (@{})`: the value is a set of ids, a JSON array in SQLite and an array in PostgreSQL.
"""

import re
from collections.abc import Sequence

from acmehub.storage.statements import Dialect, Sql

# a set of ids, which each dialect writes in its own way
_SET = re.compile(r"IN \(@(\$\d+)\)")

_ORDERS = {  # by the fields of `OrderFilter`
    "name": "o.id = a.order_id AND lower(a.identifier) = {} AND a.wildcard = {}",
    "challenge_id": "o.id IN (SELECT t.order_id FROM txt_record AS t WHERE t.managed_challenge_id = {})",
    "unfinished": "o.stage NOT IN ('done', 'failed')",
    "account_id": "o.account_id = {}",
    "token_id": "o.token_id = {}",
    "principal_id": "o.principal_id = {}",
    "status": "o.status = {}",
    "failed": "o.status = 'invalid'",
    "authority_id": "o.authority_id = {}",
    "principal_ids": "o.principal_id IN (@{})",
    "stage": "o.stage || '' = {}",
    "since": "o.created >= {}",
    "failing": "o.attempts > 0 AND coalesce((SELECT e.kind FROM event AS e WHERE e.order_id = o.id"
    " ORDER BY e.id DESC LIMIT 1), '') <> {}",
    "after": "o.created <= (SELECT created FROM orders WHERE id = {}) AND (o.created < (SELECT created FROM orders"
    " WHERE id = {}) OR o.id < {})",
}
_CERTIFICATES = {  # by the fields of `CertificateFilter`
    "name": "c.id = n.certificate_id AND n.name = {}",
    "below": "c.id IN (SELECT n.certificate_id FROM certificate_name AS n WHERE n.reversed >= {} AND n.reversed < {})",
    "many_below": "EXISTS (SELECT 1 FROM certificate_name AS n WHERE n.certificate_id = c.id AND n.reversed >= {}"
    " AND n.reversed < {})",
    "principal_id": "c.account_id IN (SELECT a.id FROM account AS a WHERE a.principal_id = {})",
    "token_id": "c.account_id IN (SELECT a.id FROM account AS a WHERE a.token_id = {})",
    "principal_ids": "c.account_id IN (SELECT a.id FROM account AS a WHERE a.principal_id IN (@{}))",
    "revoked": "c.revoked IS NOT NULL",
    "unrevoked": "c.revoked IS NULL",
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
_ACCOUNTS = {  # by the fields of `AccountFilter`
    "thumbprint": "a.thumbprint = {}",
    "token_id": "a.token_id = {}",
    "principal_id": "a.principal_id = {}",
    "over": "a.status <> 'valid'",
    "principal_ids": "a.principal_id IN (@{})",
    "status": "a.status || '' = {}",
    "after": "a.id > {}",
}
_OF_ORDERS = ("name", "challenge_id", "unfinished", "account_id", "token_id", "principal_id", "status", "authority_id")
_OF_CERTIFICATES = ("name", "below", "revoked", "principal_id", "token_id", "principal_ids", "authority_id")
_OF_ACCOUNTS = ("thumbprint", "token_id", "principal_id", "over", "principal_ids")


def page_of_orders(columns: str, given: Sequence[str], dialect: Dialect) -> Sql:
    """A list of orders by what is `given`, newest first; values: those of the conditions in this order, then the limit.

    CROSS JOIN has SQLite begin with the few authorizations of a name.
    """
    best = next((name for name in _OF_ORDERS if name in given), "principal_ids")
    if best == "status" and "principal_ids" in given:  # a status has many orders of others
        best = "principal_ids"
    kept = (best, "unfinished", *(("failed",) if best == "principal_ids" else ()))
    texts = [_ORDERS[name] if name in kept else _unindexed(_ORDERS[name]) for name in given]
    source = "authorization_ AS a CROSS JOIN orders AS o" if "name" in given else "orders AS o"
    if best == "principal_ids" and "failed" in given and dialect is Dialect.SQLITE:
        source += " INDEXED BY orders_failed"
    return _page(columns, "orders", f"o.id FROM {source}", texts, "{}.created DESC, {}.id DESC", "o", dialect)


def page_of_certificates(columns: str, given: Sequence[str], dialect: Dialect) -> Sql:
    """A list of certificates by what is `given`, newest first, or by their end where that is given; see
    `page_of_orders`."""
    by_end = "ends_before" in given
    best = next((name for name in _OF_CERTIFICATES if name in given), "")
    if by_end and best not in (
        "name",
        "below",
        "revoked",
    ):  # the index has the account, so that those of others are not read
        best = ""
    texts = [_CERTIFICATES[name] if name == best else _unindexed(_CERTIFICATES[name]) for name in given]
    source = "certificate_name AS n CROSS JOIN certificate AS c" if "name" in given else "certificate AS c"
    order = "{}.not_after, {}.id" if by_end else "{}.created DESC, {}.id DESC"
    return _page(columns, "certificate", f"c.id FROM {source}", texts, order, "c", dialect)


def page_of_accounts(columns: str, given: Sequence[str], dialect: Dialect) -> Sql:
    """A list of accounts by what is `given`, oldest first; see `page_of_orders`."""
    best = next((name for name in _OF_ACCOUNTS if name in given), "")
    texts = [_ACCOUNTS[name] if name == best else _unindexed(_ACCOUNTS[name]) for name in given]
    return _page(columns, "account", "a.id FROM account AS a", texts, "{}.id", "a", dialect)


def _unindexed(condition: str) -> str:
    """The same condition on one column, which no index is used for."""
    return re.sub(r"^(\w\.(?:\w+_id|status)) (=|IN|<>)", r"\1 || '' \2", condition)


def _page(
    columns: str, table: str, ids: str, conditions: Sequence[str], order: str, alias: str, dialect: Dialect
) -> Sql:
    """The ids are found first, so that nothing but them is sorted; columns with alias `page`."""
    text = " AND ".join(conditions)
    numbers = [f"${number}" for number in range(1, text.count("{}") + 2)]
    return _sql(
        "SELECT {columns} FROM {table} AS page WHERE page.id IN"
        " (SELECT {ids}{where} ORDER BY {order} LIMIT {limit}) ORDER BY {outer}",
        dialect,
        columns=columns,
        table=table,
        ids=ids,
        where=f" WHERE {text.format(*numbers)}" if text else "",
        order=order.format(alias, alias),
        outer=order.format("page", "page"),
        limit=numbers[-1],
    )


def _sql(text: str, dialect: Dialect, **parts: str) -> Sql:
    """A text with its parts, in the words of one dialect."""
    among = r"IN (SELECT value FROM json_each(\1))" if dialect is Dialect.SQLITE else r"= ANY (\1)"
    return Sql(_SET.sub(among, text.format(**parts)))


# ------------------------------------------------------------------------------------------------------- figures


def causes(*, waiting: bool, narrowed: bool, dialect: Dialect) -> Sql:
    """Failed orders by what they failed of, or those that wait after a failure, one row for each principal. Values:
    since when they have failed (of those that wait: were opened), since when they were opened, kinds of troubles
    (`|one||other|`); with `narrowed`, the principals."""
    of_principals = "o.principal_id || '' IN (@$4)" if waiting else "o.principal_id IN (@$4)"
    return _sql(
        "SELECT authority_id, challenge, problem, trouble, principal_id, count(*), min(failed), max(failed), max(id)"
        " FROM (SELECT o.id, o.authority_id, o.principal_id, coalesce({problem}, '') AS problem,"
        " coalesce((SELECT e.kind FROM event AS e WHERE e.order_id = o.id"
        " AND replace($3, '|' || e.kind || '|', '') <> $3 ORDER BY e.id DESC LIMIT 1), '') AS trouble,"
        " coalesce((SELECT max(t.managed_challenge_id) FROM txt_record AS t WHERE t.order_id = o.id), '') AS challenge,"
        " {at} AS failed FROM orders AS o WHERE {these} AND o.created >= $2{of_principals}) AS f WHERE failed >= $1"
        " GROUP BY authority_id, challenge, problem, trouble, principal_id",
        dialect,
        problem="json_extract(o.error, '$.type')" if dialect is Dialect.SQLITE else "o.error::json ->> 'type'",
        at="o.created"
        if waiting
        else "(SELECT max(e.at) FROM event AS e WHERE e.order_id = o.id AND e.kind = 'order failed')",
        these="o.stage NOT IN ('done', 'failed') AND o.attempts > 0" if waiting else "o.status = 'invalid'",
        of_principals=f" AND {of_principals}" if narrowed else "",
    )


def expiry(*, narrowed: bool, dialect: Dialect) -> Sql:
    """How many certificates end in each span of time, and how many of them are uncovered. Values: begin and end of it
    all, seconds of a span; with `narrowed`, the principals."""
    span = "(strftime('%s', c.not_after) - strftime('%s', $1)) / $3"
    if dialect is Dialect.POSTGRES:
        span = "floor(extract(epoch FROM c.not_after - $1) / $3::int)::int"
    return _sql(
        "SELECT {span}, count(*), sum(CASE WHEN {uncovered} THEN 1 ELSE 0 END) FROM certificate AS c"
        " WHERE c.not_after >= $1 AND c.not_after < $2 AND c.revoked IS NULL{of_principals} GROUP BY 1",
        dialect,
        span=span,
        uncovered=_CERTIFICATES["uncovered"],
        of_principals=_of_principals("$4") if narrowed else "",
    )


def late(columns: str, *, narrowed: bool, dialect: Dialect) -> Sql:
    """Uncovered certificates past the end of their renewal window for whose names no order is open, those that end
    first first; columns with alias `c`.

    Values: now; when they end at the earliest; since when a window of the CA is not used any more; a short life in
    days; the share of a short life, and of another, that is left at the end of its window; the share that may have
    passed since its end; limit; with `narrowed`, the principals.
    """
    life, left = "(julianday(c.not_after) - julianday(c.not_before))", "(julianday(c.not_after) - julianday($1))"
    if dialect is Dialect.POSTGRES:
        life, left = (
            f"extract(epoch FROM {span}) / 86400" for span in ("c.not_after - c.not_before", "c.not_after - $1")
        )
    return _sql(
        "SELECT {columns} FROM certificate AS c WHERE c.id IN (SELECT c.id FROM certificate AS c"
        " WHERE c.not_after >= $2 AND {uncovered}{of_principals}"
        " AND c.name_set NOT IN (SELECT o.name_set FROM orders AS o WHERE o.stage NOT IN ('done', 'failed')))"
        " AND CASE WHEN c.window_start < c.window_end AND c.window_until > $3 THEN c.window_end < $1"
        " ELSE {left} < {life} * CASE WHEN {life} < $4 THEN {short} ELSE {other} END END"
        " AND {left} > {life} * -{missed} ORDER BY c.not_after, c.id LIMIT $8",
        dialect,
        columns=columns,
        life=life,
        left=left,
        short="$5" if dialect is Dialect.SQLITE else "$5::float8",
        other="$6" if dialect is Dialect.SQLITE else "$6::float8",
        missed="$7" if dialect is Dialect.SQLITE else "$7::float8",
        uncovered=_CERTIFICATES["uncovered"],
        of_principals=_of_principals("$9") if narrowed else "",
    )


def _of_principals(value: str) -> str:
    """One more condition, which no index is used for."""
    return f" AND {_unindexed(_CERTIFICATES['principal_ids']).format(value)}"


MANY = 1000
# each list of certificates below a name: whether there are so many that a walk soon finds a page of them
COUNT_BELOW = Sql(
    "SELECT count(*) FROM (SELECT 1 FROM certificate_name AS n WHERE n.reversed >= $1 AND n.reversed < $2 LIMIT {many})"
    " AS held",
    many=str(MANY),
)

# for people and metrics
OPEN_ORDERS = Sql("SELECT stage, count(*) FROM orders WHERE stage NOT IN ('done', 'failed') GROUP BY stage")

# for metrics: the few rows that there are
STANDING_RECORDS = Sql("SELECT state, count(*) FROM txt_record GROUP BY state")

# for metrics. Value: now. How many have not ended, how many have, and how many of the former are revoked
CERTIFICATE_COUNTS = Sql(
    "SELECT (SELECT count(*) FROM certificate WHERE not_after > $1), (SELECT count(*) FROM certificate"
    " WHERE not_after <= $1), (SELECT count(*) FROM certificate WHERE revoked IS NOT NULL"
    " AND coalesce(not_after, not_after) > $1)"
)

# whether anybody works. Value: now. When the first of the orders that nobody has claimed was due; how many are claimed
BACKLOG = Sql(
    "SELECT (SELECT min(run_at) FROM orders WHERE run_at IS NOT NULL AND lease_until IS NULL AND run_at <= $1),"
    " (SELECT count(*) FROM orders WHERE lease_until IS NOT NULL AND lease_until > $1)"
)

# after an upgrade
FILL_NAME_SETS = Sql(
    "UPDATE certificate SET name_set = (SELECT o.name_set FROM orders AS o WHERE o.id = certificate.order_id)"
    " WHERE id IN (SELECT id FROM certificate WHERE name_set IS NULL ORDER BY id LIMIT $1 {skip}) RETURNING id"
)

# after an upgrade. Values: the name reversed, the row
FILL_REVERSED = Sql("UPDATE certificate_name SET reversed = $1 WHERE id = $2")
