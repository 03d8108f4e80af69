"""Files of recorded requests: what each line is, where it stands, and its text, which is sent again.

May import: installation, userinput, apis.
"""
