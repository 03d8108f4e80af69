"""Bytes out, bytes in, and their times.

May import: nothing of ours.
"""
