"""Exports a study from its database: tables, TensorBoard's event files, Optuna's studies."""
