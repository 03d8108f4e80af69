"""One call: its attempts, retries and records, and the openai SDK as the authority on a request.

May import: record, payload, apis, transport.
"""
