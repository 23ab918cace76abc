"""Optuna Dashboard on the ledger's database: read-only, local, with notes on every study."""

from indian_tune.dashboard.server import DashboardServer

__all__ = ["DashboardServer"]
