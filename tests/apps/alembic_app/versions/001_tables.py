"""Tables, a type, rows: all in one transaction."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "001", None


def upgrade() -> None:
    notes = op.create_table(
        "alembic_notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("mood", sa.Enum("sad", "ok", name="alembic_mood"), nullable=False),
        sa.Column("day", sa.Date, server_default=sa.func.current_date()),
    )
    op.bulk_insert(notes, [{"mood": mood} for mood in ("sad", "ok", "ok")])


def downgrade() -> None:
    op.drop_table("alembic_notes")
    op.execute("DROP TYPE alembic_mood")
