"""What differs between runs, and whether it is more than chance.

May import: record, userinput, exit_codes, metrics, statistics, sources, figures, findings, plots, report.
"""
