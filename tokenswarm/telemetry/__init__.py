"""A run's figures for monitoring systems, while it is on.

May import: redaction, record, userinput.
"""
