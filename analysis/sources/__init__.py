"""Where rows come from: run directories, and files of other tools.

May import: redaction, statistics, record, userinput, metrics.
"""
