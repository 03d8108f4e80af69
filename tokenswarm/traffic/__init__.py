"""Recorded traffic: from a log to a file of requests, what it is like, and the bytes that are sent again.

May import: installation, redaction, userinput, exit_codes, workload, apis, recordings, logs.
"""
