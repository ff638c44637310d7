"""Runs without a foreign key to their workflow version on SQLite as well.

A run that was moved names all the versions that it has followed, in that one column.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

KEY = re.compile(r",\s*(CONSTRAINT \w+ )?FOREIGN KEY\(workflow_id\) REFERENCES workflows \(id\)")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":  # see 0004
        return
    # SQLite has no statement for it. What is stored of the table does not depend on its keys, so
    # its text is changed instead, as https://sqlite.org/lang_altertable.html has it.
    connection = op.get_bind()
    read = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'runs'"
    before = connection.scalar(sa.text(read))
    after, found = KEY.subn("", before)
    if found != 1:
        raise RuntimeError(f"found the table runs as {before!r}; wanted one {KEY.pattern}")
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(
        sa.text("UPDATE sqlite_master SET sql = :after WHERE type = 'table' AND name = 'runs'"),
        {"after": after},
    )
    connection.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = OFF"))
