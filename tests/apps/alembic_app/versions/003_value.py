"""A value of an enum, which can be used only when its transaction has ended; a setting for the steps."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "003", "002"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TYPE alembic_mood ADD VALUE IF NOT EXISTS 'glad'")
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET statement_timeout = '30s'")
    shown = op.get_bind().scalar(
        sa.text("SELECT current_setting('lock_timeout') || current_setting('statement_timeout')")
    )
    assert shown == "3s30s", shown
    op.execute("INSERT INTO alembic_notes (mood, text) VALUES ('glad', 'new')")
    with op.get_context().autocommit_block():
        shown = op.get_bind().scalar(
            sa.text("SELECT current_setting('lock_timeout') || current_setting('statement_timeout')")
        )
        assert shown == "030s", shown
        op.execute("RESET statement_timeout")
        op.execute("VACUUM alembic_notes")


def downgrade() -> None:
    op.execute("DELETE FROM alembic_notes WHERE mood = 'glad'")
