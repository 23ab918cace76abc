"""The tasks of the package: one module each, with a ``TASK``."""
