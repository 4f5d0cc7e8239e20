"""S3, MLflow, Prefect and workers on this machine: start, stop, addresses.

It must not import training or stages.
"""
