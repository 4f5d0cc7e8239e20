"""MLflow: the runs of trainings and comparisons, the registry of students, the packaged model.

Nothing else imports ``mlflow`` but the served model, which runs inside it.
"""
