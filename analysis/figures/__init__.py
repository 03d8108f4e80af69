"""Figures of one run from its rows: populations, rates, distributions, series. Pure.

May import: statistics, sources, record, userinput, metrics.
"""
