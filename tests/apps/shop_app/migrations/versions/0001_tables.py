"""The tables of the shop, and what it sells."""

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

PRODUCTS = [
    {"name": "bread", "price": Decimal("3.50"), "stock": 100_000},
    {"name": "butter", "price": Decimal("2.25"), "stock": 100_000},
    {"name": "jam", "price": Decimal("4.10"), "stock": 100_000},
    {"name": "tea", "price": Decimal("5.00"), "stock": 100_000},
    {"name": "truffle", "price": Decimal("99.99"), "stock": 0},
]


def upgrade() -> None:
    product = op.create_table(
        "product",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("price", sa.Numeric(10, 2), nullable=False),
        sa.Column("stock", sa.Integer, sa.CheckConstraint("stock >= 0"), nullable=False),
    )
    op.create_table(
        "customer_order",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("customer", sa.String, nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    )
    op.create_table(
        "order_line",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("order_id", sa.Uuid, sa.ForeignKey("customer_order.id"), nullable=False),
        sa.Column("product_id", sa.Integer, sa.ForeignKey("product.id"), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
    )
    op.bulk_insert(product, PRODUCTS)


def downgrade() -> None:
    for table in ("order_line", "customer_order", "product"):
        op.drop_table(table)
