"""The load generator's own condition: heartbeat, accuracy, self-check, overload.

May import: record, transport, metrics.
"""
