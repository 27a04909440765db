"""Training and evaluating: losses, steps and metrics (`detection`), and the loop around them.

The loop is tf-models-official's, on Orbit; `running` mends what is broken in it for several
workers, and adds progress, early stopping and continuous evaluation that ends.
"""
