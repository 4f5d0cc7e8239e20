"""Rewards of sampled responses: plain functions on completions and the columns of their rows.

A reward imports the parser of answers and nothing that trains.
"""
