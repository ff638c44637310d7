"""What all tables are made of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Integer, MetaData, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from orchestrator.store.tables.conditions import WORDS

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)

ID = Text().with_variant(Text(collation="C"), "postgresql")
INSTANT = BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
BIG = BigInteger().with_variant(Integer(), "sqlite")

# Inserts leave half of each page free, so that a row's next version finds room beside it: a run is
# written seven times, a link twice. Tables are no larger for it, since less is left behind. They
# are vacuumed by what has changed, not by what has been kept for years.
HOT = {
    "fillfactor": "50",
    "autovacuum_vacuum_threshold": "10000",
    "autovacuum_vacuum_scale_factor": "0.05",
}
BY_RUN = "RANGE (run_id)"


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Over the rows alone for which the condition holds."""
    condition = text(where)
    return Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def words(name: str, column: str, **more: Any) -> Index:
    """Of a column's texts, on PostgreSQL alone; SQLite goes through the texts themselves."""
    found = text(WORDS.format(column))
    return Index(name, found, postgresql_using="gin", **more).ddl_if(dialect="postgresql")
