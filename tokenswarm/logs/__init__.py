"""Logs of other programs, read as the requests that they tell of: spans, LiteLLM, Azure and access logs.

May import: userinput, apis, recordings.
"""
