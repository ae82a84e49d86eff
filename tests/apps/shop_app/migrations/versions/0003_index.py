"""An index made without a lock, outside of a transaction."""

from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("customer_order_customer", "customer_order", ["customer"], postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("customer_order_customer", postgresql_concurrently=True)
