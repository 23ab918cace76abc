"""The figures of a study: a frame of epochs or a verdict in, a matplotlib ``Figure`` out.

Every figure has a function that returns the table behind it; what is not in the data raises
``NoDataError``. Nothing is shown or written here, and pyplot is not needed.
"""

from indian_tune.analysis.figures.best_so_far import best_so_far, best_so_far_table
from indian_tune.analysis.figures.budget_curve import budget_curve, budget_table
from indian_tune.analysis.figures.exhibit import Exhibit, Material
from indian_tune.analysis.figures.exhibits import exhibits
from indian_tune.analysis.figures.factorial import factorial_table, interactions
from indian_tune.analysis.figures.flatness import flatness_table, sharpness
from indian_tune.analysis.figures.forest import forest, forest_table
from indian_tune.analysis.figures.heatmaps import surface_maps, surface_table
from indian_tune.analysis.figures.importance import importance_table, importances
from indian_tune.analysis.figures.learning_curves import Band, learning_curve_table, learning_curves
from indian_tune.analysis.figures.pairs import pair_table, paired_seeds
from indian_tune.analysis.figures.power_curve import power_curve, power_table
from indian_tune.analysis.figures.step_size import step_size_table, step_sizes
from indian_tune.analysis.figures.trajectories import trajectories, trajectory_table

__all__ = [
    "Band",
    "Exhibit",
    "Material",
    "best_so_far",
    "best_so_far_table",
    "budget_curve",
    "budget_table",
    "exhibits",
    "factorial_table",
    "flatness_table",
    "forest",
    "forest_table",
    "importance_table",
    "importances",
    "interactions",
    "learning_curve_table",
    "learning_curves",
    "pair_table",
    "paired_seeds",
    "power_curve",
    "power_table",
    "sharpness",
    "step_size_table",
    "step_sizes",
    "surface_maps",
    "surface_table",
    "trajectories",
    "trajectory_table",
]
