"""The tasks of the package: a module each, with a ``TASK``. Nothing else has to know of them."""
