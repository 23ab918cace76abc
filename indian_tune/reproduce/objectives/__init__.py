"""Nonsmooth tame objectives with mini-batch subgradients and their critical sets."""

from indian_tune.reproduce.objectives.absolute_regression import AbsoluteRegression
from indian_tune.reproduce.objectives.objective import TameObjective
from indian_tune.reproduce.objectives.relu_difference import ReluDifference
from indian_tune.reproduce.objectives.relu_network import ReluNetwork
from indian_tune.reproduce.objectives.two_kinks import TwoKinks

__all__ = ["AbsoluteRegression", "ReluDifference", "ReluNetwork", "TameObjective", "TwoKinks"]
