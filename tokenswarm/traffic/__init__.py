"""Recorded traffic: files of requests, where each stands in them, and the bytes that are sent again.

May import: redaction, userinput, exit_codes, workload, apis.
"""
