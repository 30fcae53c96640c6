"""Where SQL comes from, and how much of it a verb costs."""

import ast
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import acmehub
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.storage import tables
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.statements import Batch, Dialect, Statement, Unit
from acmehub.storage.store import SqlStore
from acmehub.testing.store_samples import a_certificate, an_event, at, sow

CORE = Path(acmehub.__file__).parent
BY_HAND = [
    CORE / "storage" / f"{name}.py"
    for name in ("audit/statements", "hot_statements", "list_statements", "rate_limits", "schema_steps")
]


# ----------------------------------------------------------------------------------------------- where it stands


def test_sql_is_written_by_hand_in_four_modules() -> None:
    def by_hand(path: Path) -> bool:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {getattr(call.func, "id", getattr(call.func, "attr", "")) for call in calls}
        return not names.isdisjoint({"Sql", "WhereRaw", "raw"})

    assert sorted(path for path in CORE.rglob("*.py") if by_hand(path)) == BY_HAND


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_each_statement_written_by_hand_has_its_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            assert lines[node.lineno - 2].startswith("# "), lines[node.lineno - 1]
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


# ------------------------------------------------------------------------------------------------ prepared queries


@pytest.mark.parametrize(("dialect", "mark"), [(Dialect.SQLITE, "?"), (Dialect.POSTGRES, "$")])
def test_a_prepared_query_numbers_its_parameters_and_has_the_rest_in_its_text(dialect: Dialect, mark: str) -> None:
    order = tables.Order
    query = order.select(order.id).where(
        order.status.is_in(["pending", "ready"]),
        order.preauthorization.eq(False),
        order.created <= Parameter(2),
        order.expires <= Parameter(2),
        order.attempts > 3,
    )
    text = prepared(query.limit(Parameter(1)), dialect).sqlite
    assert "\"orders\".\"status\" IN ('pending', 'ready')" in text
    assert '"orders"."preauthorization" = false' in text
    assert '"orders"."attempts" > 3' in text
    assert text.count(f"<= {mark}2") == 2
    assert text.endswith(f"LIMIT {mark}1")


def test_a_prepared_query_takes_no_foreign_words() -> None:
    order = tables.Order
    with pytest.raises(TypeError, match="use a Parameter"):
        _ = prepared(order.select(order.id).where(order.profile == "it's"), Dialect.SQLITE).sqlite


# ------------------------------------------------------------------------------------------------------- how much


class CountingDriver(SqliteDriver):
    """Counts the statements that units of work yield; one with many rows of values counts once."""

    count = 0

    def _counted(self, verb: Callable[..., Unit[Any]], *args: Any) -> Unit[Any]:
        unit = verb(*args)
        step = next(unit, None)
        while step is not None:
            if isinstance(step, Statement | Batch):
                self.count += len(step.statements) if isinstance(step, Batch) else 1
            try:
                step = unit.send((yield step))
            except StopIteration as stop:
                return stop.value

    async def point_read(self, verb: Callable[..., Unit[Any]], *args: Any) -> Any:
        return await super().point_read(self._counted, verb, *args)

    async def read(self, verb: Callable[..., Unit[Any]], *args: Any) -> Any:
        return await super().read(self._counted, verb, *args)

    async def write(self, verb: Callable[..., Unit[Any]], *args: Any) -> Any:
        return await super().write(self._counted, verb, *args)

    async def of(self, verb: Awaitable[Any]) -> int:
        """How many statements a verb took."""
        before = self.count
        await verb
        return self.count - before


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[CountingDriver]:
    driver = CountingDriver(tmp_path / "acmehub.db")
    await SqlStore(driver).migrate()
    await driver.open(serve=False)
    yield driver
    await driver.close()


async def test_what_an_order_costs(driver: CountingDriver) -> None:
    """Bounds, not wishes: more statements on these paths are more CPU and more latency for each order."""
    store = SqlStore(driver)
    seed = await sow(store)
    bundle = seed.order("a.corp.test", "b.corp.test")
    id, record, certificate = bundle.order.id, seed.record(bundle), a_certificate(bundle.order)

    def step(current: OrderBundle) -> Change:
        order = replace(current.order, attempts=current.order.attempts + 1)
        first = replace(current.authorizations[0], responded=not current.authorizations[0].responded)
        return Change(order=order, authorizations=(first,), events=(an_event(order),))

    assert await driver.of(store.orders.add(bundle, (an_event(bundle.order),))) == 3
    assert await driver.of(store.orders.get(id)) == 1
    assert await driver.of(store.orders.claim(Lease("me", at(30)), at(0), 16)) == 2
    assert await driver.of(store.orders.renew(id, 1, at(60))) == 1
    assert await driver.of(store.orders.apply(id, step)) == 6  # its cached row is older than the renewal
    assert await driver.of(store.orders.apply(id, step)) == 4
    assert await driver.of(store.orders.apply(id, lambda now: replace(step(now), records=(record,)))) == 5
    assert await driver.of(store.orders.apply(id, lambda now: replace(step(now), schedule_removal=True))) == 5
    assert await driver.of(store.orders.apply(id, lambda now: replace(step(now), certificate=certificate))) == 6
    assert await driver.of(store.orders.next_due()) == 1


async def test_what_a_request_costs(driver: CountingDriver) -> None:
    store = SqlStore(driver)
    seed = await sow(store)
    bundle = seed.order()
    await store.orders.add(bundle)
    order, account = bundle.order, seed.actor.account
    other = SqlStore(driver)  # as another process: nothing is cached
    for _ in range(2):
        assert await driver.of(other.accounts.actor(account.id)) == 1
        assert await driver.of(other.orders.get(order.id)) == 1
    assert await driver.of(store.orders.authorization(bundle.authorizations[0].id)) == 1
    assert await driver.of(store.orders.open_of(account.id, order.name_set)) == 2
    assert await driver.of(store.orders.previous(account.id, order.name_set)) == 2
    assert await driver.of(store.orders.same_csr(account.id, b"csr", at(0))) == 1
    assert await driver.of(store.orders.valid_authorizations(account.id, ["www.corp.test"], at(0))) == 2
    assert await driver.of(store.orders.of_account(account.id)) == 1
    assert await driver.of(store.orders.of_account(account.id, after=order.id)) == 1
    assert await driver.of(store.certificates.get("none")) == 1
    assert await driver.of(store.certificates.by_serial("00")) == 1
    assert await driver.of(store.authorities.get(seed.authority.id)) == 1
    assert await driver.of(store.nonces.use("nonce", at(1))) == 1
