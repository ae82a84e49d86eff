"""What counts as a round trip."""

import struct

from pgshim.demo.relay import Conversation, Count

SSL_REQUEST = struct.pack("!II", 8, 80877103)
AUTHENTICATION_OK = b"R" + struct.pack("!II", 8, 0)
READY_FOR_QUERY = b"Z" + struct.pack("!I", 5) + b"I"


def started() -> Conversation:
    """A conversation whose start-up is over, with a count of its own."""
    conversation = Conversation(Count())
    conversation.client_sent(b"startup")
    conversation.server_sent(AUTHENTICATION_OK + READY_FOR_QUERY)
    conversation.count.startup = 0
    return conversation


def test_startup_is_counted_apart_up_to_the_first_ready_for_query_in_any_chunking() -> None:
    conversation = Conversation(Count())
    conversation.client_sent(SSL_REQUEST)
    conversation.server_sent(b"N")
    conversation.client_sent(b"startup")
    for byte in AUTHENTICATION_OK + READY_FOR_QUERY:
        conversation.server_sent(bytes([byte]))
    conversation.client_sent(b"query")
    assert conversation.count == Count(startup=2, queries=1)


def test_an_authentication_exchange_is_part_of_startup() -> None:
    conversation = Conversation(Count())
    for _ in range(3):
        conversation.client_sent(b"password message")
        conversation.server_sent(AUTHENTICATION_OK)
    assert conversation.count == Count(startup=3)


def test_writes_with_no_answer_between_are_one_round_trip() -> None:
    conversation = started()
    conversation.client_sent(b"parse")
    conversation.client_sent(b"bind")
    conversation.server_sent(b"1")
    conversation.client_sent(b"execute")
    assert conversation.count == Count(queries=2)


def test_nobody_waits_for_an_answer_to_terminate() -> None:
    conversation = started()
    conversation.client_sent(b"X" + struct.pack("!I", 4))
    assert conversation.count == Count()


def test_an_answer_in_several_reads_is_one_round_trip() -> None:
    conversation = started()
    conversation.client_sent(b"query")
    conversation.server_sent(b"rows")
    conversation.server_sent(b"more rows")
    assert conversation.count == Count(queries=1)
