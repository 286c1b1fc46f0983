"""Sweeps whose jobs are commands of their own, on this machine or on a cluster."""
