"""Data frames in, evidence out: no database and no torch here."""

from indian_tune.analysis.analysis import analyze
from indian_tune.analysis.factorial import FactorialDetails
from indian_tune.analysis.label import Label, label_of
from indian_tune.analysis.power import Power, power
from indian_tune.analysis.surface import Coefficient, SurfaceDetails, SurfaceFit
from indian_tune.analysis.verdict import (
    Amount,
    Contrast,
    Details,
    Finding,
    Gate,
    Importance,
    Registration,
    Scope,
    Trained,
    Verdict,
)

__all__ = [
    "Amount",
    "Coefficient",
    "Contrast",
    "Details",
    "FactorialDetails",
    "Finding",
    "Gate",
    "Importance",
    "Label",
    "Power",
    "Registration",
    "Scope",
    "SurfaceDetails",
    "SurfaceFit",
    "Trained",
    "Verdict",
    "analyze",
    "label_of",
    "power",
]
