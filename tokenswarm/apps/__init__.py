"""An application with a stream of its own: how it is asked and how its answer is read, as options say.

May import: record, userinput, payload, apis.
"""
