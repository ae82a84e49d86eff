"""What every test runs under."""

import os

# Before the first event loop of this process or of a child: slow callbacks and forgotten awaits are reported.
os.environ["PYTHONASYNCIODEBUG"] = "1"
