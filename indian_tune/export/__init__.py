"""Taking a study out of its database: tables, TensorBoard's event files, Optuna's studies."""
