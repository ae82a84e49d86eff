"""What every test runs under."""

import os

# How long an example takes says nothing on a machine that has other work.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Before the first event loop of this process or of a child: slow callbacks and forgotten awaits are reported.
os.environ["PYTHONASYNCIODEBUG"] = "1"
