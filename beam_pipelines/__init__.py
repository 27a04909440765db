"""Apache Beam pipelines: composites of small steps, and the commands that run them.

What a step does to one element is in the package `context_rcnn`, which never imports Beam.
"""

import logging

# Beam warns of Google's clients that are not installed, which only those who use them need.
_OF_NO_USE = ("Failed to import GCSFileSystem", "apitools not found")
for _name in (None, "apache_beam.io.filesystems"):
    logging.getLogger(_name).addFilter(lambda record: not str(record.msg).startswith(_OF_NO_USE))
