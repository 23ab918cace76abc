"""Engines on this machine: in this process, and in worker processes."""
