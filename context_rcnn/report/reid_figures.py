"""The picture of features in two dimensions; scikit-learn arranges them."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from context_rcnn.evaluation.reid import unit_length
from context_rcnn.report.figures import theme

_MARKERS = "osD^vP"  # beside the colours: no more than some colours can be told apart


def t_sne(features: np.ndarray, seed: int) -> np.ndarray:
    """Points [tracklets, 2] whose neighbours are those of the features, by cosine."""
    from sklearn.manifold import TSNE

    perplexity = min(10.0, (len(features) - 1) / 3)
    arranged = TSNE(2, perplexity=perplexity, metric="cosine", init="random", random_state=seed)
    return arranged.fit_transform(unit_length(features).astype(np.float64))


def features_picture(points: np.ndarray, labels: Sequence[str], palette: str = "light") -> Figure:
    """Each tracklet a point, each identity a colour and a shape.

    Args:
        points: [tracklets, 2].
        labels: identity of each.
        palette: name of the palette.
    """
    with theme(palette):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        names = sorted(set(labels))
        colours = mpl.color_sequences["tab10"]
        for place, name in enumerate(names):
            members = [i for i, label in enumerate(labels) if label == name]
            axes.scatter(
                points[members, 0],
                points[members, 1],
                s=34,
                color=colours[place % len(colours)],
                marker=_MARKERS[place // len(colours) % len(_MARKERS)],
                linewidths=0,
            )
    return figure
