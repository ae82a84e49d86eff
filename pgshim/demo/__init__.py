"""`pgshim demo`: an unmodified asyncpg program, straight at a transaction pooler and then through pgshim.

Also the throw-away servers that it, the tests and the benchmark run on (`servers`), and a relay that counts
round trips (`relay`). No other room imports this one.
"""
