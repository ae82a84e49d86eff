"""A bank whose servers are sabotaged: `python -m tests.chaos --seconds 60 --seed 1`.

Clients with unmodified drivers move money through pgshim and PgBouncer while a saboteur restarts, kills and stalls
whatever lies between them and the data. In the end the books must balance.
"""
