"""What a run comes to: verdict, quota, doubts, and all figures as one summary. Pure.

May import: statistics, sources, figures, sizing, record, userinput, exit_codes, workload, metrics.
"""
