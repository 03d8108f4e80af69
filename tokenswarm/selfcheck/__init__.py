"""What this machine measures accurately.

May import: redaction, installation, users, record, exit_codes, transport, metrics, generator.
"""
