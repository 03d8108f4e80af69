"""A run inside Locust: events, shapes, interrupts, Locust's own statistics.

May import: redaction, record, userinput, exit_codes, workload, metrics, config, results, preflight, sender, control.
"""
