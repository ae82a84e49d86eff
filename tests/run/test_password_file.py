"""The password file of a command behind pgshim: the user's own, and the pooler's lines for pgshim's address."""

from pgshim import password_file
from pgshim.addresses import Address

POOLER = Address("pooler", 6543)
LINES = ["# mine", "other:*:*:u:1", r"pooler:6543:d\:b:u:2\\", "*:*:*:v:3", "pooler:1:*:*:4", "broken"]


def test_lines_for_the_server_come_first_for_pgshims_address() -> None:
    moved = password_file.pointed_at(LINES, POOLER, "127.0.0.1", 7000)
    assert moved == [r"127.0.0.1:7000:d\:b:u:2\\", "127.0.0.1:7000:*:v:3", *LINES]
    here = Address("127.0.0.1", 7000)
    for database, user in (("d:b", "u"), ("x", "v"), ("x", "nobody")):
        expected = password_file.find(LINES, POOLER, database, user)
        assert password_file.find(moved, here, database, user) == expected


def test_a_colon_in_the_host_is_escaped() -> None:
    moved = password_file.pointed_at(["*:*:*:*:p"], POOLER, "::1", 7000)
    assert moved[0] == r"\:\:1:7000:*:*:p"
    assert password_file.find(moved[:1], Address("::1", 7000), "d", "u") == "p"


def test_for_a_unix_socket_there_is_localhost_at_the_end_where_some_drivers_look() -> None:
    moved = password_file.pointed_at(["localhost:5:*:*:own", "pooler:6543:*:*:p"], POOLER, "/tmp/x", 5)
    assert moved == ["/tmp/x:5:*:*:p", "localhost:5:*:*:own", "pooler:6543:*:*:p", "localhost:5:*:*:p"]


def test_without_a_line_for_the_server_no_file_is_needed() -> None:
    assert password_file.pointed_at(["other:1:*:*:p"], POOLER, "127.0.0.1", 7000) == []
