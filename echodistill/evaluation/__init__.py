"""Computation of figures from answers: parsing, scores, intervals, significance. Pure.

It must not import training, reports or stages.
"""
