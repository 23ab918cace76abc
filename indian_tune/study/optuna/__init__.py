"""The study in Optuna's tables, and the samplers and pruners that read them."""
