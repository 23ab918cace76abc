"""The hypotheses of a study, a file each: the arms that they compare and what they need."""

from indian_tune.study.hypotheses.factorial import Cell, Factorial
from indian_tune.study.hypotheses.hypothesis import Hypothesis, Prospect, Setting
from indian_tune.study.hypotheses.matched_loss import MatchedLoss
from indian_tune.study.hypotheses.replication import Replication
from indian_tune.study.hypotheses.surface import Surface
from indian_tune.study.hypotheses.tuning_gain import TuningGain

__all__ = [
    "Cell",
    "Factorial",
    "Hypothesis",
    "MatchedLoss",
    "Prospect",
    "Replication",
    "Setting",
    "Surface",
    "TuningGain",
]
