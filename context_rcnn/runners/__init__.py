"""Runs of exported models on one machine: `folder`, `videos`, and `watch` for arriving images.

They share `engine` with each other and with the Beam job; none of them imports another. Nothing
here knows how a model was made; `export.exported` runs it.
"""
