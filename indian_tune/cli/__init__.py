"""The command line: one file per command, which parses, calls and prints.

Library errors become clean messages here and nowhere else. What does not train imports neither
torch, ray, pandas nor matplotlib, so every command's heavy imports are inside its function.
"""

from indian_tune.cli.app import app, main

__all__ = ["app", "main"]
