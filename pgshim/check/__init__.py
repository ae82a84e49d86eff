"""`pgshim check URL`: connects as an app would, and says what is there and what pgshim makes of it.

    target        what to connect to: a URL, or options (`url`, `options`), with a password (`passwords`)
    network       the addresses of a name, and which of them answer
    wire          one connection: TLS, login (`authentication`), queries, batches of messages
    certificates  what the server's certificate says, and who would accept it
    identity      which pooler this is
    experiments   its mode, prepared statements, pipelines, round trips; `parameters`: startup parameters
    advice        what to do about a failure        recommendation   the command line, and the app's URL
    report        lines and data, as they are found        printing   for a terminal, or plain
    run           one thing after the other

It does what an app does, a few dozen times, and leaves nothing behind. It imports the proxy's rooms; none imports it.
"""
