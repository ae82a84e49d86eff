"""One table of messages and their exact bytes: it drives decode, encode, every truncation and trailing junk.

Most of the backend's were sent by PostgreSQL 15, and most of the frontend's were understood by it.
"""

from pgshim.protocol import backend as b
from pgshim.protocol import frontend as f
from pgshim.protocol import startup as s
from pgshim.protocol.message import Message

STARTUP: list[tuple[Message, bytes]] = [
    (s.CancelRequest(7, b"\1\2\3\4"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\1\2\3\4"),
    (s.CancelRequest(-1, b"k" * 256), b"\0\0\x01\x0c\x04\xd2\x16\x2e\xff\xff\xff\xff" + b"k" * 256),
    (s.SSLRequest(), b"\0\0\0\x08\x04\xd2\x16\x2f"),
    (s.GSSENCRequest(), b"\0\0\0\x08\x04\xd2\x16\x30"),
    (s.StartupMessage(0, ()), b"\0\0\0\x09\0\3\0\0\0"),
    (
        s.StartupMessage(2, ((b"user", b"alice"), (b"options", b""), (b"_pq_.x", b"1"), (b"user", b"bob"))),
        b"\0\0\0\x2f\0\3\0\2user\0alice\0options\0\0_pq_.x\x001\0user\0bob\0\0",
    ),
]

FRONTEND: list[tuple[Message, bytes]] = [
    (f.AuthenticationResponse(b"any"), b"p\0\0\0\x07any"),
    (
        f.Bind(b"p", b"s", (1, 0), (b"\0\0\0\1", None, b""), (1,)),
        b"B\0\0\0\x24p\0s\0\0\2\0\1\0\0\0\3\0\0\0\4\0\0\0\1\xff\xff\xff\xff\0\0\0\0\0\1\0\1",
    ),
    (f.Bind(b"", b"", (), (), ()), b"B\0\0\0\x0c\0\0\0\0\0\0\0\0"),
    (f.Close(f.Target.PORTAL, b"p"), b"C\0\0\0\x07Pp\0"),
    (f.CopyData(b"1\n"), b"d\0\0\0\x061\n"),
    (f.CopyDone(), b"c\0\0\0\x04"),
    (f.CopyFail(b"no"), b"f\0\0\0\x07no\0"),
    (f.Describe(f.Target.STATEMENT, b"s"), b"D\0\0\0\x07Ss\0"),
    (f.Execute(b"p", 50), b"E\0\0\0\x0ap\0\0\0\0\x32"),
    (f.Flush(), b"H\0\0\0\x04"),
    (
        f.FunctionCall(1317, (0,), (b"abc", None), 1),
        b"F\0\0\0\x1b\0\0\x05\x25\0\1\0\0\0\2\0\0\0\3abc\xff\xff\xff\xff\0\1",
    ),
    (f.GSSResponse(b"token"), b"p\0\0\0\x09token"),
    (
        f.Parse(b"s", b"select $1", (23, 0xFFFFFFFF)),
        b"P\0\0\0\x1as\0select $1\0\0\2\0\0\0\x17\xff\xff\xff\xff",
    ),
    (f.PasswordMessage(b"secret"), b"p\0\0\0\x0bsecret\0"),
    (f.Query(b"select 1"), b"Q\0\0\0\x0dselect 1\0"),
    (f.SASLInitialResponse(b"SCRAM-SHA-256", b"n,,"), b"p\0\0\0\x19SCRAM-SHA-256\0\0\0\0\3n,,"),
    (f.SASLInitialResponse(b"OAUTHBEARER", None), b"p\0\0\0\x14OAUTHBEARER\0\xff\xff\xff\xff"),
    (f.SASLResponse(b"c=biws"), b"p\0\0\0\x0ac=biws"),
    (f.Sync(), b"S\0\0\0\x04"),
    (f.Terminate(), b"X\0\0\0\x04"),
]

BACKEND: list[tuple[Message, bytes]] = [
    (b.AuthenticationOk(), b"R\0\0\0\x08\0\0\0\0"),
    (b.AuthenticationKerberosV5(), b"R\0\0\0\x08\0\0\0\2"),
    (b.AuthenticationCleartextPassword(), b"R\0\0\0\x08\0\0\0\3"),
    (b.AuthenticationMD5Password(b"salt"), b"R\0\0\0\x0c\0\0\0\5salt"),
    (b.AuthenticationGSS(), b"R\0\0\0\x08\0\0\0\7"),
    (b.AuthenticationGSSContinue(b"token"), b"R\0\0\0\x0d\0\0\0\x08token"),
    (b.AuthenticationSSPI(), b"R\0\0\0\x08\0\0\0\x09"),
    (
        b.AuthenticationSASL((b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")),
        b"R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
    ),
    (b.AuthenticationSASLContinue(b"r=x"), b"R\0\0\0\x0b\0\0\0\x0br=x"),
    (b.AuthenticationSASLFinal(b"v=y"), b"R\0\0\0\x0b\0\0\0\x0cv=y"),
    (b.BackendKeyData(5821, b"\xed?zE"), b"K\0\0\0\x0c\0\0\x16\xbd\xed?zE"),
    (b.BackendKeyData(1, b"k" * 32), b"K\0\0\0\x28\0\0\0\1" + b"k" * 32),
    (b.BindComplete(), b"2\0\0\0\x04"),
    (b.CloseComplete(), b"3\0\0\0\x04"),
    (b.CommandComplete(b"SELECT 1"), b"C\0\0\0\x0dSELECT 1\0"),
    (b.CopyData(b""), b"d\0\0\0\x04"),
    (b.CopyDone(), b"c\0\0\0\x04"),
    (b.CopyInResponse(0, (0,)), b"G\0\0\0\x09\0\0\1\0\0"),
    (b.CopyOutResponse(1, (1, 1)), b"H\0\0\0\x0b\1\0\2\0\1\0\1"),
    (b.CopyBothResponse(0, ()), b"W\0\0\0\x07\0\0\0"),
    (b.DataRow((b"1", None, b"2619")), b"D\0\0\0\x17\0\3\0\0\0\x011\xff\xff\xff\xff\0\0\0\x042619"),
    (b.EmptyQueryResponse(), b"I\0\0\0\x04"),
    (
        b.ErrorResponse(
            (
                (b"S", b"FEHLER"),
                (b"V", b"ERROR"),
                (b"C", b"42703"),
                (b"M", b'column "xyz" does not exist'),
                (b"P", b"8"),
                (b"?", b"of a later version"),
                (b"R", b"errorMissingColumn"),
            )
        ),
        b'E\0\0\0\x63SFEHLER\0VERROR\0C42703\0Mcolumn "xyz" does not exist\0P8\0?of a later version\0'
        b"RerrorMissingColumn\0\0",
    ),
    (b.FunctionCallResponse(b"3"), b"V\0\0\0\x09\0\0\0\x013"),
    (b.FunctionCallResponse(None), b"V\0\0\0\x08\xff\xff\xff\xff"),
    (b.NegotiateProtocolVersion(196608, (b"_pq_.x",)), b"v\0\0\0\x13\0\3\0\0\0\0\0\1_pq_.x\0"),
    (b.NoData(), b"n\0\0\0\x04"),
    (b.NoticeResponse(((b"M", b"hi"), (b"H", b"h"))), b"N\0\0\0\x0cMhi\0Hh\0\0"),
    (b.NoticeResponse(()), b"N\0\0\0\x05\0"),
    (b.NotificationResponse(9, b"channel", b""), b"A\0\0\0\x11\0\0\0\x09channel\0\0"),
    (b.ParameterDescription((23, 25)), b"t\0\0\0\x0e\0\2\0\0\0\x17\0\0\0\x19"),
    (b.ParameterStatus(b"TimeZone", b"UTC"), b"S\0\0\0\x11TimeZone\0UTC\0"),
    (b.ParseComplete(), b"1\0\0\0\x04"),
    (b.PortalSuspended(), b"s\0\0\0\x04"),
    (b.ReadyForQuery(b.TransactionStatus.IDLE), b"Z\0\0\0\x05I"),
    (
        b.RowDescription(
            (
                b.FieldDescription(b"oid", 1259, 1, 26, 4, -1, 0),
                b.FieldDescription(b"b", 0, 0, 25, -1, -1, 1),
            )
        ),
        b"T\0\0\0\x30\0\2oid\0\0\0\x04\xeb\0\1\0\0\0\x1a\0\4\xff\xff\xff\xff\0\0"
        b"b\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\1",
    ),
]

# These run to the end of their body, so that a shorter or longer one may be right too.
OPEN_ENDED = {
    s.CancelRequest,
    f.AuthenticationResponse,
    f.CopyData,
    f.GSSResponse,
    f.SASLResponse,
    b.AuthenticationGSSContinue,
    b.AuthenticationSASLContinue,
    b.AuthenticationSASLFinal,
    b.BackendKeyData,
}
