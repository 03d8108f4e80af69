"""What the service counted, beside what the client saw.

May import: record, userinput, exit_codes, metrics, statistics, sources, figures, findings.
"""
