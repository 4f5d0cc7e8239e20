"""Answer questions about clips: the page of `echodistill listen` on this machine, and the model as
MLflow serves it.

No stage and no training module imports this package.
"""
