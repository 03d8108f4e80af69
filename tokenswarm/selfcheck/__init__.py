"""What this machine measures honestly.

May import: redaction, installation, users, record, exit_codes, transport, metrics, generator.
"""
