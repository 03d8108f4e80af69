"""A summary shown: terminal, Markdown, HTML, plots, JUnit, exports.

May import: record, exit_codes, metrics, statistics, sources, figures, server.
"""
