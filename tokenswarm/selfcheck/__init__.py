"""What this machine measures honestly.

May import: installation, users, record, exit_codes, transport, metrics, generator.
"""
