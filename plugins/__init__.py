"""CoTAM inside other people's programs: what codes *and* decodes in one process.

Importing this package does nothing; each module says what importing it registers where.
"""
