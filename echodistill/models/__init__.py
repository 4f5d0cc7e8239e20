"""Audio language models: the interface of a family, loading, prompts, generation and scoring.

No other package depends on how a model takes audio. This one must not import data, training or
stages.
"""
