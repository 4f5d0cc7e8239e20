"""What a model was made from: ``dvc.lock``, hashes of clips, and proof that they are what they
were.

It must not import stages.
"""
