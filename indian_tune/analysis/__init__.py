"""Data frames in, evidence out: no database and no torch here."""

from indian_tune.analysis.analysis import analyze
from indian_tune.analysis.label import Label, label_of
from indian_tune.analysis.power import Power, power
from indian_tune.analysis.verdict import (
    Check,
    Coefficient,
    Contrast,
    Equivalence,
    Finding,
    ImageInterval,
    Importance,
    Registration,
    Scope,
    SurfaceFit,
    Threshold,
    Verdict,
)

__all__ = [
    "Check",
    "Coefficient",
    "Contrast",
    "Equivalence",
    "Finding",
    "ImageInterval",
    "Importance",
    "Label",
    "Power",
    "Registration",
    "Scope",
    "SurfaceFit",
    "Threshold",
    "Verdict",
    "analyze",
    "label_of",
    "power",
]
