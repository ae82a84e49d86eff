"""A small shop: FastAPI, SQLModel, Alembic, asyncpg. It knows nothing of pgshim."""
