"""`pgshim run -- COMMAND`: pgshim for as long as one command runs, which finds it in its environment.

    pgshim run            waits for the command, and hands signals on         `command`
     |-- pgshim           the proxy, on a free port, until its parent is gone  `proxy`
     '-- COMMAND          with DATABASE_URL pointed at that port               `variables`, `env_files`

The command's process is a plain child in the same process group: it has the terminal, and is in the shell's job.
"""
