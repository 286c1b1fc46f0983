"""Metagradients: what the weight of every training item does to a query, by differentiating through the whole training.

The idea is MAGIC's (Ilyas & Engstrom 2025, arXiv 2504.16430); for diffusion models it is worked out here.
"""
