"""Rewards of sampled responses: plain functions on completions and the columns of their rows.

A reward may import the parser of answers but nothing that trains.
"""
