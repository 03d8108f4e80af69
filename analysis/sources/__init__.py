"""Where rows come from: run directories, and files of other tools.

May import: statistics, record, userinput.
"""
