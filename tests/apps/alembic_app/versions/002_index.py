"""An index made without a lock, between two steps that are transactions."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "002", "001"


def upgrade() -> None:
    op.add_column("alembic_notes", sa.Column("text", sa.String))
    with op.get_context().autocommit_block():
        op.create_index("alembic_notes_day", "alembic_notes", ["day"], postgresql_concurrently=True, if_not_exists=True)
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS alembic_notes_mood ON alembic_notes (mood)")
        op.execute("VACUUM ANALYZE alembic_notes")
    op.execute("UPDATE alembic_notes SET text = mood || '!'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("alembic_notes_mood", postgresql_concurrently=True, if_exists=True)
        op.drop_index("alembic_notes_day", postgresql_concurrently=True, if_exists=True)
    op.drop_column("alembic_notes", "text")
