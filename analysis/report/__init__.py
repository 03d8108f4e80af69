"""A summary shown: terminal, Markdown, HTML, JUnit, exports.

May import: redaction, record, exit_codes, metrics, statistics, sources, figures, findings, plots.
"""
