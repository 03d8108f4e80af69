"""Requests and answers as bytes, faults included.

May import: config.
"""
