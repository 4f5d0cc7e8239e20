"""Use MLflow: the runs of trainings and comparisons, the registry of students, the packaged model.

Besides this package, only the served model imports ``mlflow``, because it runs inside MLflow.
"""
