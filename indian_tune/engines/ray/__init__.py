"""The engine that runs trials on Ray, on one machine or a cluster."""
