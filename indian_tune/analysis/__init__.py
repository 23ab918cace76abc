"""Data frames in, evidence out: no database and no torch here."""

from indian_tune.analysis.contrasts import PairedContrast, paired_contrast
from indian_tune.analysis.label import Label, label_of
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
    "PairedContrast",
    "Registration",
    "Scope",
    "SurfaceFit",
    "Threshold",
    "Verdict",
    "label_of",
    "paired_contrast",
]
