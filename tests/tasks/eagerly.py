"""Runs of a few steps without graphs, since tracing a step takes longer than it does.

That the steps of a memory can be traced and compiled, the tests of `models/` and of `tpu/` hold,
and the runs of test_running.py, test_video.py and the demo.
"""

from context_rcnn.tasks import running

EAGERLY = dict.fromkeys(("train_tf_function", "train_tf_while_loop", "eval_tf_function"), False)


def run(config, **options):
    """`running.run` of the same settings."""
    config.override({"trainer": EAGERLY})
    return running.run(config, **options)
