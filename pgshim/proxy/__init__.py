"""proxy: sockets. The only room with asyncio and logging.

A connection's way through it:

    listen       an accept loop for each listening socket            run       the loop, the signals, the start-up line
    negotiate    TLS or not, on the bare socket                       server    what all connections share; drain
    greeting     the first packet: StartupMessage or CancelRequest    tls       contexts, both ways
    connection   one client and one upstream, glued to a stage        upstream  resolve, connect, TLS
    flow         which of the two is read from                        cancel    CancelRequests
    departure    an upstream whose client is gone                     sweep     what is looked at now and then
    sockets      what is set on every socket                          log       how records are written

What a stage makes of the bytes is `pgshim.session`'s; nothing in here reads a message but the untyped packets that open
a connection. Bytes go from callback to callback: no task runs for a connection that is logged in.
"""
