"""Data frames in, evidence out: no database and no torch here."""

from indian_tune.analysis.contrasts import PairedContrast, paired_contrast

__all__ = ["PairedContrast", "paired_contrast"]
