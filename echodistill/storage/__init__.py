"""The S3 store: client, transfers, the shared teacher cache, checkpoints.

It is the only place that imports boto3, and knows nothing of models or audio.
"""
