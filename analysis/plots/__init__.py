"""The plots of a report, as plotly.js specifications, and the plotly.js that draws them.

May import: metrics, statistics, sources, figures, findings, server.
"""
