"""Whether the database has a hub's schema, and all of its steps; nothing is written, and Piccolo is not needed."""

import pkgutil

from acmehub.ports.store import StoreAbsent, StoreOutdated
from acmehub.storage import migrations
from acmehub.storage.statements import Sql, Unit

# each start: whether the hub's tables are there, by two names, as many a program has a `migration`; Piccolo looks only
# into PostgreSQL's schema `public`
HAS_SCHEMA = Sql.of(
    sqlite="SELECT count(*) FROM sqlite_master WHERE name IN ('migration', 'txt_record')",
    postgres="SELECT (to_regclass('migration') IS NOT NULL)::int + (to_regclass('txt_record') IS NOT NULL)::int",
)

# each start: Piccolo's own table, which it reads on its own connection only
STEPS_TAKEN = Sql("SELECT name FROM migration WHERE app_name = 'acmehub'")


def known_steps() -> dict[str, str]:
    """The module of each step by the step's `ID`, which Piccolo notes in the database."""
    names = [item.name for item in pkgutil.iter_modules(migrations.__path__)]
    return {_id(name): name for name in names}


def require_schema(place: str) -> Unit[None]:
    """Raises `StoreAbsent` for a database without the hub's tables, `StoreOutdated` for one that lacks steps."""
    if [tuple(row) for row in (yield HAS_SCHEMA())] != [(2,)]:
        raise StoreAbsent(place)
    taken = {row[0] for row in (yield STEPS_TAKEN())}
    missing = len(known_steps().keys() - taken)
    if missing:
        raise StoreOutdated(
            f"the schema of {place} is older than this program ({missing} steps): run `acmehub db upgrade`,"
            " or start `acmehub serve`"
        )


def _id(name: str) -> str:
    """`2026-11-24T00:00:02` for `m2026_11_24_02_indexes`."""
    year, month, day, number = name.removeprefix("m").split("_")[:4]
    return f"{year}-{month}-{day}T00:00:{number}"
