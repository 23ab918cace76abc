"""Trials on a virtual clock, with known learning curves: nothing is trained."""
