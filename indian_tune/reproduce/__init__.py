"""The paper's mathematics, reproduced: DIN, Figure 1 and Theorem 1.

SciPy and matplotlib are imported by the functions that need them.
"""

from indian_tune.reproduce.din import Discretisation, compare_with_din, solve_din
from indian_tune.reproduce.drawing import draw_convergence, draw_figure1
from indian_tune.reproduce.figure1 import (
    Curve,
    Difference,
    Figure1,
    compute_figure1,
    differences,
    distance_to_din,
)
from indian_tune.reproduce.recursion import indian_path, indian_update, initial_velocity
from indian_tune.reproduce.theorem1 import (
    ConvergenceRow,
    ConvergenceRun,
    convergence_table,
    default_objectives,
    run_convergence,
)
from indian_tune.reproduce.writers import write_convergence, write_figure1
from indian_tune.reproduce.zonotope import Zonotope

__all__ = [
    "ConvergenceRow",
    "ConvergenceRun",
    "Curve",
    "Difference",
    "Discretisation",
    "Figure1",
    "Zonotope",
    "compare_with_din",
    "compute_figure1",
    "convergence_table",
    "default_objectives",
    "differences",
    "distance_to_din",
    "draw_convergence",
    "draw_figure1",
    "indian_path",
    "indian_update",
    "initial_velocity",
    "run_convergence",
    "solve_din",
    "write_convergence",
    "write_figure1",
]
