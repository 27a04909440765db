"""One mechanism a file, as plain Keras layers that know nothing of detectors.

Shapes are static where XLA needs them, masks hold in training too, and nothing of ours but other
layers is imported here.
"""
