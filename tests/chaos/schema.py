"""The bank's tables, and what its clients ask of them.

Each question takes a token as `$1` and answers with it in the first column; its last column names the question. A reply
that was meant for another client, or for another statement, shows in either.
"""

from __future__ import annotations

ACCOUNTS = 40
OPENING = 1_000
TOTAL = ACCOUNTS * OPENING
ROLES = ("teller_a", "teller_b")
BRANCHES = ("branch_a", "branch_b")

# No unique key on the ledger: a transfer that runs twice must show.
_TABLES = f"""
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE ledger (id text NOT NULL, source int NOT NULL, target int NOT NULL, amount bigint NOT NULL);
CREATE INDEX ON ledger (id);
CREATE TABLE branch AS SELECT CAST('main' AS text) AS name;
INSERT INTO accounts SELECT n, {OPENING} FROM generate_series(1, {ACCOUNTS}) AS n;
GRANT SELECT ON branch TO PUBLIC;
GRANT SELECT, UPDATE ON accounts TO PUBLIC;
GRANT SELECT, INSERT ON ledger TO PUBLIC;
"""


def creation() -> str:
    """All that is created before the bank opens, as the superuser."""
    lines = [_TABLES]
    for role in ROLES:
        lines.append(f"CREATE ROLE {role}; GRANT {role} TO app;")
    for name in BRANCHES:
        lines.append(f"CREATE SCHEMA {name}; CREATE TABLE {name}.branch AS SELECT CAST('{name}' AS text) AS name;")
        lines.append(f"GRANT USAGE ON SCHEMA {name} TO PUBLIC; GRANT SELECT ON {name}.branch TO PUBLIC;")
    return "\n".join(lines)


READ = "SELECT CAST($1 AS text), id, balance, 'read' FROM accounts WHERE id = $2"
READ_ALL = "SELECT CAST($1 AS text), id, balance, 'read all' FROM accounts ORDER BY id"
SUM = "SELECT CAST($1 AS text), CAST(sum(balance) AS bigint), 'sum' FROM accounts"
MOVE = "UPDATE accounts SET balance = balance + $2 WHERE id = $3 RETURNING CAST($1 AS text), id, 'move'"
ENTER = (
    "INSERT INTO ledger (id, source, target, amount) VALUES ($2, $3, $4, $5) RETURNING CAST($1 AS text), id, 'enter'"
)
#: A whole transfer in one statement.
TRANSFER = (
    "WITH moved AS (UPDATE accounts"
    " SET balance = balance + CASE WHEN id = $3 THEN - CAST($5 AS bigint) ELSE CAST($5 AS bigint) END"
    " WHERE id IN ($3, $4))"
    " INSERT INTO ledger (id, source, target, amount)"
    " SELECT CAST($2 AS text), CAST($3 AS int), CAST($4 AS int), CAST($5 AS bigint)"
    " RETURNING CAST($1 AS text), id, 'transfer'"
)
LOOK_UP = "SELECT CAST($1 AS text), count(*), 'look up' FROM ledger WHERE id = $2"
SLEEP = "SELECT CAST($1 AS text), CAST(pg_sleep($2) AS text), 'sleep'"
SETTINGS = (
    "SELECT CAST($1 AS text), current_setting('application_name'), current_setting('statement_timeout'),"
    " CAST(current_user AS text), (SELECT name FROM branch), 'settings'"
)
# For executemany, which has no replies to put a token in.
MOVE_MANY = "UPDATE accounts SET balance = balance + $1 WHERE id = $2"
ENTER_MANY = "INSERT INTO ledger (id, source, target, amount) VALUES ($1, $2, $3, $4)"


def read_literal(token: str) -> str:
    """READ_ALL's sum with the token in its text: a statement that is new each time."""
    return f"SELECT '{token}', CAST(sum(balance) AS bigint), 'literal' FROM accounts"
