"""Use the S3 store: client, transfers, the shared teacher cache, checkpoints.

Only this package imports boto3, and it contains nothing about models or audio.
"""
