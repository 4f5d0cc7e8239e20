"""Run S3, MLflow, Prefect and workers on this machine: start, stop, addresses.

This package must not import training or stages.
"""
