"""One mechanism per file, as plain Keras layers that know nothing of detectors.

Shapes are static where XLA needs them, masks also hold in training, and layers import nothing of
this package but other layers.
"""
