"""Re-identification with an exported model: who is who in tracklets.

    index   turns tracklets into a folder of embeddings
    search  asks queries against a folder of embeddings
    tracks  makes tracklets of the detections of videos

Models are run as they were exported (`export.embedder`); nothing here trains.
"""
