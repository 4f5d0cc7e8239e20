"""From answers to figures: parsing, scores, intervals, significance. Pure.

It must not import training, reports or stages.
"""
