"""--workers on the command line: what the log says, which signal does what, one port for all."""

import json
import os
import re
import signal
import socket
import ssl
import struct
from pathlib import Path

import pytest
import trustme

from tests.proxy.world import startup
from tests.test_cli import NOWHERE, ended, port_in, running


def certificate_at(port: int) -> bytes | None:
    """The certificate, in DER, that is shown to a client there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(struct.pack("!II", 8, 80877103))
        assert client.recv(1) == b"S"
        with context.wrap_socket(client) as encrypted:
            return encrypted.getpeercert(binary_form=True)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_line_of_a_worker_says_whose_it_is(loop: str) -> None:
    options = ["--listen", "127.0.0.1:0", "--upstream", NOWHERE, "--workers", "2", "--loop", loop]
    with running(*options, "--log-format", "json") as (process, lines):
        assert process.stderr is not None
        lines += [process.stderr.readline() for _ in range(2)]
        entries = [json.loads(line) for line in lines]
        start = [entry["message"] for entry in entries if "worker" not in entry]
        assert [message.split(":")[0] for message in start][-1] == "2 workers"
        assert [entry["worker"] for entry in entries if "could not connect" in entry["message"]] == [1]
        seen = set()
        while seen != {1, 2}:
            with socket.create_connection(("127.0.0.1", port_in([start[0]]))) as client:
                client.sendall(startup())
                assert client.recv(100).startswith(b"E")
            entry = json.loads(process.stderr.readline())
            assert entry["message"].startswith("closed: could not connect")
            seen.add(entry["worker"])
        process.send_signal(signal.SIGTERM)
        code, rest = ended(process)
        assert code == 0
        assert [json.loads(line)["message"] for line in rest.splitlines()] == [
            "stopping: transactions have 30 s to end",
            "stopped",
        ]


def test_the_port_that_the_system_chose_is_that_of_all_workers() -> None:
    with running("--listen", "0", "--upstream", NOWHERE, "--workers", "2", "--tls-self-signed") as (process, lines):
        assert len({certificate_at(port_in(lines)) for _ in range(16)}) == 1
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 0


def test_sighup_reaches_all_workers_and_those_to_come(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def issue() -> None:
        issued = authority.issue_cert("localhost")
        cert.write_bytes(issued.cert_chain_pems[0].bytes())
        issued.private_key_pem.write_to_path(str(key))

    issue()
    files = ["--tls-cert", str(cert), "--tls-key", str(key)]
    with running("--listen", "127.0.0.1:0", "--upstream", NOWHERE, "--workers", "2", *files) as (process, lines):
        assert process.stderr is not None
        start = [process.stderr.readline(), process.stderr.readline()]
        before = certificate_at(port_in(lines))
        issue()
        process.send_signal(signal.SIGHUP)
        said = {process.stderr.readline()[29:] for _ in range(2)}
        assert said == {"[1] certificates read again\n", "[2] certificates read again\n"}
        victim = re.search(r"processes (\d+),", "".join(start))
        assert victim is not None
        os.kill(int(victim[1]), signal.SIGKILL)
        assert "SIGKILL" in process.stderr.readline()
        assert "worker 1 is process" in process.stderr.readline()
        after = {certificate_at(port_in(lines)) for _ in range(16)}
        assert len(after) == 1
        assert before not in after
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
