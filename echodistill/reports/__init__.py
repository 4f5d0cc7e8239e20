"""Tables, curves, pages and the model card, made from figures that are computed elsewhere.

It must not import training or stages.
"""
