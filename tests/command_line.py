"""Every command of the tool and its options, for tests of what texts say of them."""

from __future__ import annotations

from typing import Any

import typer

from indian_tune.cli import app
from indian_tune.cli.deferred import DeferredCommand


def _commands(command: Any, name: str = "indian-tune") -> dict[str, Any]:
    if isinstance(command, DeferredCommand):
        command = command.loaded
    found = {name: command}
    for word, below in getattr(command, "commands", {}).items():
        found |= _commands(below, f"{name} {word}")
    return found


# By the words that call them.
COMMANDS = _commands(typer.main.get_command(app))
OPTIONS = {
    name: {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
    for name, command in COMMANDS.items()
}


def wrong_words(call: str) -> list[str]:
    """Return what does not exist of a call, as it would follow the program's name on a line."""
    words = call.split()
    depth = max(n for n in range(3) if " ".join(["indian-tune", *words[:n]]) in COMMANDS)
    name = " ".join(["indian-tune", *words[:depth]])
    if not depth and not words[0].startswith("-"):
        return [f"{name} {words[0]}"]
    flags = [word.partition("=")[0].rstrip(".,;:") for word in words[depth:]]
    return [
        f"{name} {flag}" for flag in flags if flag.startswith("-") and flag not in OPTIONS[name]
    ]
