"""Apache Beam pipelines: composites of small steps, and the commands that run them.

What a step does to one element is in the package `context_rcnn`, which never imports Beam.
"""
