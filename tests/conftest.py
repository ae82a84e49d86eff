"""What every test runs under."""

import os

from hypothesis import settings

# Before the first event loop of this process or of a child: slow callbacks and forgotten awaits are reported.
os.environ["PYTHONASYNCIODEBUG"] = "1"

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
