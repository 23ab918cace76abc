"""Adds the studies that come with the package, all files `studies/*.toml`, to the wheel."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Studies(BuildHookInterface[Any]):
    """Puts the study files where the command line looks for them after an installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name each file with its place in the wheel."""
        files = sorted(Path(self.root, "studies").glob("*.toml"))
        build_data["shared_data"] |= {
            str(file): f"share/indian-tune/studies/{file.name}" for file in files
        }
