"""What this machine measures honestly.

May import: users, record, exit_codes, transport, metrics, generator.
"""
