"""asyncpg's own test suite, unmodified, with PostgreSQL directly and through pgshim and PgBouncer.

`expected.toml` has each test that passes directly and cannot pass through a transaction pooler, with the reason.
Any other failure fails the run, and so does an entry whose test passes after all.
"""
