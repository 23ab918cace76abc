"""Data frames in, evidence out: no database and no torch here."""

from indian_tune.analysis.analysis import analyze
from indian_tune.analysis.equivalence import Equivalence
from indian_tune.analysis.factorial import FactorialDetails
from indian_tune.analysis.label import Label, label_of
from indian_tune.analysis.matched_loss import MatchedLossDetails, Threshold
from indian_tune.analysis.power import Power, power
from indian_tune.analysis.surface import Coefficient, SurfaceDetails, SurfaceFit
from indian_tune.analysis.verdict import (
    Check,
    Contrast,
    Details,
    Finding,
    ImageInterval,
    Importance,
    Registration,
    Scope,
    Verdict,
)

__all__ = [
    "Check",
    "Coefficient",
    "Contrast",
    "Details",
    "Equivalence",
    "FactorialDetails",
    "Finding",
    "ImageInterval",
    "Importance",
    "Label",
    "MatchedLossDetails",
    "Power",
    "Registration",
    "Scope",
    "SurfaceDetails",
    "SurfaceFit",
    "Threshold",
    "Verdict",
    "analyze",
    "label_of",
    "power",
]
