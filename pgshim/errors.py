"""Every error pgshim raises, as one tree; each class owns its SQLSTATE.

    PgshimError
    +-- ConfigurationError            a bad option: one sentence that names it, its value and the fix
    +-- ProtocolViolation     08P01   a client broke the protocol
    |   +-- InvalidLength             a length field under 4, or over what the message may have
    |   +-- UnknownMessageType        a type byte that no message has
    |   +-- MalformedMessage          a body that is too short, too long, or lacks a NUL
    +-- MessageTooLarge       54000   a message that must be held whole is over its limit
    +-- FeatureNotSupported   0A000   what a transaction pooler cannot give
    +-- InvalidSwitch         42601   `options` of a StartupMessage that are no command line of a server's
    +-- InvalidParameterValue 22023   a startup parameter of pgshim's own with a value that it does not have
    +-- TooManyConnections    53300   no room for one more client
    +-- LoginTimeout          08006   a client did not finish its login in time
    +-- IdleTimeout           57P05   a client was idle for too long
    +-- ShuttingDown          57P01   pgshim is being stopped
    +-- UpstreamUnreachable   08001   no connection to the upstream could be made
    +-- UpstreamLost          08006   the upstream went away
    +-- UpstreamViolation     08P01   the upstream broke the protocol: its replies can no longer be told apart

`raise` is for a peer's fault; pgshim's own are `assert`ed.
"""


_OUT_OF_STEP = (
    "Check that --upstream is a PostgreSQL server or pooler. One that loses replies to pipelined batches needs "
    "--pipeline=serial. What was being committed may or may not have been."
)


class PgshimError(Exception):
    """An error with what a client is shown of it: SQLSTATE, message and, where there is a way out, a hint."""

    sqlstate = b"XX000"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigurationError(PgshimError):
    """A bad option."""

    sqlstate = b"F0000"


class ProtocolViolation(PgshimError):
    """A peer sent bytes that are not the frontend/backend protocol."""

    sqlstate = b"08P01"


class InvalidLength(ProtocolViolation):
    """A length field under 4, or over what a message of that type may have."""


class UnknownMessageType(ProtocolViolation):
    """A type byte that no message has."""


class MalformedMessage(ProtocolViolation):
    """A body that does not fit its message's format."""


class MessageTooLarge(PgshimError):
    """A message that must be held whole is larger than the limit for that."""

    sqlstate = b"54000"


class FeatureNotSupported(PgshimError):
    """Something that cannot work through a transaction pooler."""

    sqlstate = b"0A000"


class InvalidSwitch(PgshimError):
    """`options` of a StartupMessage that are no command line of a server's."""

    sqlstate = b"42601"


class InvalidParameterValue(PgshimError):
    """A startup parameter of pgshim's own with a value that it does not have."""

    sqlstate = b"22023"


class TooManyConnections(PgshimError):
    """No room for one more client connection."""

    sqlstate = b"53300"


class LoginTimeout(PgshimError):
    """A client did not finish its login in time."""

    sqlstate = b"08006"


class IdleTimeout(PgshimError):
    """A client was idle for longer than the option allows."""

    sqlstate = b"57P05"


class ShuttingDown(PgshimError):
    """pgshim is being stopped."""

    sqlstate = b"57P01"


class UpstreamUnreachable(PgshimError):
    """No connection to the upstream could be made."""

    sqlstate = b"08001"


class UpstreamLost(PgshimError):
    """The upstream closed the connection."""

    sqlstate = b"08006"


class UpstreamViolation(PgshimError):
    """The upstream answered out of order: no later reply can be trusted."""

    sqlstate = b"08P01"

    def __init__(self, message: str, *, hint: str = _OUT_OF_STEP) -> None:
        super().__init__(message, hint=hint)
