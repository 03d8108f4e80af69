"""How much a number of users needs.

May import: userinput, metrics.
"""
