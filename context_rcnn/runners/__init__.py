"""Exported models at work on one machine: `folder`, `videos`, and `watch` for images as they come.

`engine` is what they share, with the Beam job too; none of them imports another. Nothing here knows
how a model was made; it is asked by `export.exported`.
"""
