"""What a process leaves on disk: run directory, rows, journals, what is in flight, scraped metrics.

May import: redaction, installation, record, metrics.
"""
