"""Figures of one run, from its rows to a summary. Pure.

May import: statistics, sources, record, userinput, exit_codes, metrics.
"""
