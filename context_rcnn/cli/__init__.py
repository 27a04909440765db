"""The command `context-rcnn VERB`: one file for verbs that belong together, with all their flags.

    detect   detect, watch, results    photographs through an exported model
    videos   videos, link              videos through an exported model
    reid     reid ...                  who is who in tracklets
    report   report                    a page to show
    data     simulate, validate, examples
    train    train, convert, extractor, explain, export
    bank     remember, bank ..., features   memory banks, and stores to learn on
    head     embedder, head            a memory on top of MegaDetector
    cost, demo, doctor

Each verb is one call into the rooms below, which are imported when the verb runs. The verbs of
`detect`, `videos`, `reid` and `report`, `simulate`, `validate`, `bank` and `doctor` need the core
alone; `context_rcnn.extras` says what the others need.
"""

from context_rcnn.cli.parser import build_parser, main

__all__ = ["build_parser", "main"]
