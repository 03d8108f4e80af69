"""A run in the formats of other programs: Parquet, MLflow.

May import: record, userinput, statistics, sources, figures, findings.
"""
