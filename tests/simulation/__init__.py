"""Deterministic simulation: many workers on one ledger, with faults that a seed draws."""
