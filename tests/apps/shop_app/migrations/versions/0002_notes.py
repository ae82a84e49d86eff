"""A column that the app does not know yet, filled for the rows that are there."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    op.add_column("customer_order", sa.Column("note", sa.String, server_default="new", nullable=False))
    op.execute("UPDATE customer_order SET note = 'old'")


def downgrade() -> None:
    op.drop_column("customer_order", "note")
