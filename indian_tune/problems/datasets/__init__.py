"""The data sets of the catalog: a file for each, or for a family of them.

A file holds ``DATASETS``, a tuple of :class:`indian_tune.problems.DatasetInfo`, and the functions
that read them. It is found by being here; nothing else names a data set. The files are imported
whenever the catalog is looked at: what is heavy, such as torch, is imported by the readers.
"""
