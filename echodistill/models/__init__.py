"""Audio language models: the interface of a family, loading, prompts, generation and scoring.

It is the only place that knows how a model takes audio; it must not import data, training or
stages.
"""
