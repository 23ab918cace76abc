"""The command line: one file per command, which parses, calls and prints.

Library errors become clean messages here and nowhere else. A command is imported when it is called:
it has a line in ``app.COMMANDS``, and a module with a function of its name or, for a group, an
``app``. What does not train imports neither torch, ray, pandas nor matplotlib, so every command's
heavy imports are inside its function.
"""

from indian_tune.cli.app import app, main

__all__ = ["app", "main"]
