"""Multiply-adds, counted by hand."""

import json

import pytest
import tensorflow as tf

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.tasks.cost import cost_of, products_of

IMAGE = (1, 5, 6, 2)


def gradients(convolution, x, kernel, *args):
    kernel = tf.ones(kernel)
    return tf.gradients(convolution(x, kernel, *args), [x, kernel])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # 3 x 3 outputs of 4 channels, 3 x 3 x 2 terms each.
        (lambda x: tf.nn.conv2d(x, tf.ones([3, 3, 2, 4]), 2, "SAME"), 3 * 3 * 4 * 18),
        # 5 x 6 outputs for each of 2 channels and 3 filters, 9 terms each.
        (
            lambda x: tf.nn.depthwise_conv2d(x, tf.ones([3, 3, 2, 3]), [1, 1, 1, 1], "SAME"),
            5 * 6 * 6 * 9,
        ),
        # Each of the 30 inputs goes into 4 channels of 2 x 2 outputs.
        (
            lambda x: tf.nn.conv2d_transpose(x, tf.ones([2, 2, 4, 2]), [1, 10, 12, 4], 2),
            30 * 2 * 4 * 4,
        ),
        # Forward, to the input and to the filter: 3 x 3 x 4 outputs with 18 terms, each time.
        (lambda x: gradients(tf.nn.conv2d, x, [3, 3, 2, 4], 2, "SAME"), 3 * 3 * 3 * 4 * 18),
        (
            lambda x: gradients(tf.nn.depthwise_conv2d, x, [3, 3, 2, 3], [1, 1, 1, 1], "SAME"),
            3 * 5 * 6 * 6 * 9,
        ),
        (
            lambda x: gradients(tf.nn.conv3d, x[None], [1, 3, 3, 2, 4], [1, 1, 2, 2, 1], "SAME"),
            3 * 3 * 3 * 4 * 18,
        ),
        (lambda x: tf.matmul(tf.reshape(x, [12, 5]), tf.ones([12, 7]), transpose_a=True), 420),
        (lambda x: tf.matmul(tf.reshape(x, [3, 4, 5]), tf.ones([3, 5, 2])), 3 * 4 * 5 * 2),
        (lambda x: tf.einsum("abc,ac->ab", tf.reshape(x, [3, 4, 5]), tf.ones([3, 5])), 60),
        (lambda x: tf.einsum("...bc,cd->...bd", tf.reshape(x, [6, 2, 5]), tf.ones([5, 3])), 180),
        (lambda x: tf.nn.relu(x) + 1.0, 0),
    ],
)
def test_products_are_outputs_times_terms(function, expected):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec(IMAGE)).graph
    assert sum(products_of(graph, {}).values()) == expected


def test_a_size_that_one_input_does_not_tell_is_that_of_the_other():
    def products(*shapes):
        function = tf.function(lambda x, y: tf.einsum("abc,adc->abd", x, y))
        graph = function.get_concrete_function(*map(tf.TensorSpec, shapes)).graph
        return sum(products_of(graph, {}).values())

    assert products([2, 3, 4], [None, 5, 4]) == products([None, 3, 4], [2, 5, 4]) == 2 * 3 * 4 * 5
    assert products([2, 3, 4], [None, 0, 4]) == products([None, 3, 4], [None, 0, 4]) == 0
    with pytest.raises(ValueError, match="abc,adc->abd"):
        products([2, 3, 4], [None, None, 4])


def test_an_ellipsis_broadcasts_and_takes_a_size_from_the_input_that_tells_it():
    def products(*shapes):
        function = tf.function(lambda x, y: tf.einsum("...bc,...cd->...bd", x, y))
        graph = function.get_concrete_function(*map(tf.TensorSpec, shapes)).graph
        return sum(products_of(graph, {}).values())

    assert products([6, 2, 5], [6, 5, 3]) == products([None, 2, 5], [6, 5, 3]) == 6 * 2 * 5 * 3
    assert products([7, 1, 2, 5], [6, 5, 3]) == 7 * 6 * 2 * 5 * 3
    assert products([1, 2, 5], [1, 5, 3]) == 2 * 5 * 3
    with pytest.raises(ValueError, match="...bc,...cd->...bd"):
        products([None, 2, 5], [1, 5, 3])


def conv(rows, columns, kernel, before, after):
    return rows * columns * kernel**2 * before * after


def test_context_rcnn_costs_what_its_layers_cost():
    """ResNet-10 with a quarter of the channels, 192x256; 30 boxes ask 200 entries of 2057."""
    config = schema.load_experiment("context_rcnn_tiny")
    cost = cost_of(config, num_classes=5)
    stem = conv(96, 128, 7, 3, 16)
    blocks = sum(
        conv(rows, columns, 1, before, after)  # the shortcut
        + conv(rows, columns, 3, before, after)
        + conv(rows, columns, 3, after, after)
        for rows, columns, before, after in ((48, 64, 16, 16), (24, 32, 16, 32), (12, 16, 32, 64))
    )
    box_head = 30 * (conv(7, 7, 1, 64, 128) + conv(7, 7, 3, 64, 128) + conv(7, 7, 3, 128, 128))
    assert cost.products == {
        "backbone": stem + blocks,
        "first_stage": conv(12, 16, 3, 64, 64) + conv(12, 16, 1, 64, 9 + 36),
        "box_head": box_head,
        "memory": 2 * 200 * 2057 * 128 + 2 * 30 * 128 * 128 + 2 * 30 * 200 * 128,
        "predictor": 30 * 128 * (6 + 24),
    }
    assert cost.state is None and cost.largest >= 4 * 96 * 128 * 16
    assert cost.images == 1


def test_a_clip_of_two_images_costs_each_what_it_costs_alone_but_for_the_memory():
    """Whose 200 entries are projected once for both."""
    override = "task.clip.frames=2"
    cost = cost_of(schema.load_experiment("context_rcnn_tiny", overrides=override), num_classes=5)
    assert cost.images == 2
    assert cost.products["predictor"] == 30 * 128 * (6 + 24)
    asking = 2 * 30 * 128 * 128 + 2 * 30 * 200 * 128
    assert cost.products["memory"] == 200 * 2057 * 128 + asking


def test_the_command_compares_with_the_same_detector_without_memory(tmp_path, capsys):
    """MEGA looks at two images for each frame: its own, and one from anywhere in the video."""
    written = tmp_path / "cost.json"
    argv = ["cost", "--experiment=mega_tiny", "--num_classes=5", f"--json={written}"]
    assert cli.main(argv) == 0
    found = json.loads(written.read_text())
    model, alone = found["model"], found["without_memory"]
    assert model["products"]["backbone"] == 2 * alone["products"]["backbone"]
    assert model["products"]["predictor"] == alone["products"]["predictor"]
    assert alone["products"].get("memory", 0) == 0 < model["products"]["memory"]
    assert alone["state_bytes"] is None and model["state_bytes"] > 1000
    assert model["weights"] > alone["weights"]
    printed = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert printed["backbone"][-1] == "2.00" and printed["predictor"][-1] == "1.00"


def test_a_setting_that_does_not_exist_is_named(capsys):
    with pytest.raises(SystemExit):
        cli.main(["cost", "--experiment=mega_tiny", "--params_override=task.temporal.mega.boxes=3"])
    assert "task.temporal.mega.boxes" in capsys.readouterr().err


@pytest.mark.slow
def test_both_can_be_timed_in_turns(tmp_path, capsys):
    written = tmp_path / "cost.json"
    assert cli.main(["cost", "--experiment=mega_tiny", "--measure=2", f"--json={written}"]) == 0
    found = json.loads(written.read_text())
    assert all(cost["seconds"] > 0 for cost in found.values()) and len(found) == 2
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("ms, median")]
    ratio = found["model"]["seconds"] / found["without_memory"]["seconds"]
    assert float(line.split()[-1]) == pytest.approx(ratio, abs=0.006)
