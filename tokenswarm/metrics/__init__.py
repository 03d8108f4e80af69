"""Figures and judgement from records: samples, criteria, accounting, server metrics. Pure.

May import: record, userinput, exit_codes.
"""
