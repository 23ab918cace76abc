"""Trials on a virtual clock: their learning curves are known, so that nothing is trained."""
