"""The runs of a test in the order of time: what is kept of each, and where their figures change for good.

May import: record, userinput, exit_codes, metrics, statistics, sources, figures, findings, report, compare.
"""
