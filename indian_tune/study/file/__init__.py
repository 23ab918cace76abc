"""The study file: sections, spaces, and messages about errors."""
