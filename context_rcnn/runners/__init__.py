"""Runs of exported models on one machine: `folder`, `videos`, and `watch` for arriving images.

`session` is one camera or video for the programs of others.

They share `engine` with each other and with the Beam job. `folder` runs `videos` on those that lie
among photographs, and `reid` reads videos; none of the others imports another. `imported` makes a
journal of another program's results, `sorting` puts images into folders by class, `checkup` tries a
model without any data. Nothing here knows how a model was made; `export.exported` runs it.
"""
