"""Pipeline configs of the Object Detection API: the same settings, or a word on what differs."""

import math

import numpy as np
import pytest
from official.modeling import optimization

from context_rcnn.configs import pipeline_config, schema

CONTEXT = """
model {
  faster_rcnn {
    num_classes: 7
    image_resizer { fixed_shape_resizer { height: 320 width: 480 } }
    feature_extractor { type: "faster_rcnn_resnet50_keras" batch_norm_trainable: true }
    first_stage_anchor_generator {
      grid_anchor_generator { height: 128 width: 128 scales: [0.5, 1.0] aspect_ratios: 1.0 }
    }
    first_stage_nms_iou_threshold: 0.649999976158  # went through float32
    first_stage_max_proposals: 90
    first_stage_localization_loss_weight: 2.0
    initial_crop_size: 14 maxpool_kernel_size: 2 maxpool_stride: 2
    second_stage_box_predictor {
      mask_rcnn_box_predictor {
        fc_hyperparams { op: FC regularizer { l2_regularizer { weight: 0.0003 } } }
      }
    }
    second_stage_batch_size: 24
    second_stage_post_processing {
      batch_non_max_suppression { iou_threshold: 0.5 max_total_detections: 40 }
      score_converter: SOFTMAX
    }
    context_config {
      max_num_context_features: 1500 attention_temperature: 0.02 use_self_attention: true
      num_attention_heads: 2 attention_position: POST_RPN
    }
  }
}
train_config {
  batch_size: 6
  data_augmentation_options { random_horizontal_flip { probability: 0.25 } }
  optimizer {
    momentum_optimizer {
      learning_rate { constant_learning_rate { learning_rate: 0.004 } }
      momentum_optimizer_value: 0.8
    }
    use_moving_average: false
  }
  gradient_clipping_by_norm: 5
  num_steps: 1234
}
train_input_reader {
  label_map_path: "labels.pbtxt"
  tf_record_input_reader { input_path: "a-*" input_path: "b-*" }
}
eval_config { batch_size: 3 num_visualizations: 5 }
eval_input_reader {
  label_map_path: "labels.pbtxt" sample_1_of_n_examples: 4
  tf_record_input_reader { input_path: "c-*" }
}
"""
SHORT = """
model { faster_rcnn {
  num_classes: 2  image_resizer { fixed_shape_resizer { height: 320 width: 320 } }
  feature_extractor { type: 'faster_rcnn_resnet101' }
  first_stage_anchor_generator { grid_anchor_generator { scales: 1 aspect_ratios: 1 } }
  second_stage_post_processing { score_converter: SOFTMAX }
} }
train_config { optimizer { momentum_optimizer { } use_moving_average: false } }
"""


def load(tmp_path, text):
    path = tmp_path / "pipeline.config"
    path.write_text(text)
    return schema.load_experiment(config_files=[str(path)])


def test_every_setting_arrives(tmp_path):
    config = load(tmp_path, CONTEXT)
    task, model = config.task, config.task.model
    assert config.name == "context_rcnn_c4"
    assert (model.num_classes, model.image_size, model.keep_aspect_ratio) == (7, [320, 480], False)
    assert (model.backbone.kind, model.backbone.model_id) == ("c4", 50)
    assert not model.backbone.freeze_batch_norm
    assert model.anchors.as_dict() == {"size": 128.0, "scales": [0.5, 1.0], "aspect_ratios": [1.0]}
    assert (model.proposals.nms_iou, model.proposals.count) == (0.65, 90)
    assert model.boxes.samples == 24
    assert (model.detections.nms_iou, model.detections.count) == (0.5, 40)
    losses = task.losses
    assert (losses.objectness, losses.proposal_boxes, losses.boxes) == (1.0, 2.0, 1.0)
    assert losses.weight_decay == 0.0003
    attention = task.temporal.context_rcnn
    assert (task.temporal.type, attention.variant, attention.depth) == (
        *("context_rcnn", "released"),
        2048,
    )
    assert (attention.temperature, attention.position, attention.combine) == (
        *(0.02, "crops"),
        "parallel",
    )
    assert (attention.short_term.window, attention.short_term.heads) == (1, 2)
    assert (attention.long_term.enabled, attention.long_term.heads) == (True, 2)
    assert (task.memory.max_entries, task.memory.calendar, task.memory.variant) == (
        *(1500, True),
        "released",
    )
    train, validation = task.train_data, task.validation_data
    assert (train.input_path, train.global_batch_size, train.flip_probability) == (
        *("a-*,b-*", 6),
        0.25,
    )
    assert (validation.input_path, validation.global_batch_size, validation.sample_1_of_n) == (
        *("c-*", 3),
        4,
    )
    assert (task.label_map, task.evaluation.images, task.clip.frames) == ("labels.pbtxt", 5, 1)
    assert config.trainer.train_steps == 1234
    sgd = config.trainer.optimizer_config.optimizer.sgd
    assert (sgd.momentum, sgd.clipnorm, sgd.global_clipnorm) == (0.8, 5.0, None)


def test_what_is_not_said_is_as_there_not_as_here(tmp_path):
    config = load(tmp_path, SHORT)
    losses, data = config.task.losses, config.task.train_data
    assert config.name == "faster_rcnn_c4" and config.task.temporal.type == "none"
    assert losses.proposal_boxes == losses.boxes == 1.0 and losses.weight_decay == 0.0
    assert (
        config.task.model.image_size == [320, 320] and config.task.model.backbone.freeze_batch_norm
    )
    assert (data.global_batch_size, data.flip_probability, data.shuffle_buffer_size) == (
        32,
        0,
        2048,
    )
    assert config.trainer.optimizer_config.optimizer.sgd.clipnorm is None
    assert pipeline_config.read_pipeline_config(SHORT).notes == []


def test_a_pyramid_has_its_anchors_level_by_level(tmp_path):
    text = SHORT.replace("resnet101", "resnet50_fpn_keras").replace(
        "grid_anchor_generator { scales: 1 aspect_ratios: 1 }",
        "multiscale_anchor_generator { min_level: 2 max_level: 6 anchor_scale: 8.0 "
        "aspect_ratios: [1.0, 2.0, 0.5] scales_per_octave: 1 }",
    )
    model = load(tmp_path, text).task.model
    assert (model.backbone.kind, model.backbone.model_id) == ("fpn", 50)
    # A level's square anchor is anchor_scale times its stride: 8 * 64 at the coarsest.
    assert (model.anchors.size, model.anchors.scales) == (512.0, [1.0])
    assert pipeline_config.read_pipeline_config(text).notes == []


@pytest.mark.parametrize(
    "resizer, kind, size, keep, words",
    [
        ("fixed_shape_resizer { }", "", [304, 304], False, ["300x300: 304x304"]),
        ("keep_aspect_ratio_resizer { }", "", [608, 1024], True, ["fitted", "600x1024: 608x1024"]),
        ("fixed_shape_resizer { height: 320 width: 640 }", "_fpn", [320, 640], False, []),
        ("fixed_shape_resizer { height: 330 width: 640 }", "_fpn", [384, 640], False, ["of 64"]),
    ],
)
def test_sizes_are_whole_strides(tmp_path, resizer, kind, size, keep, words):
    text = SHORT.replace("fixed_shape_resizer { height: 320 width: 320 }", resizer)
    text = text.replace("resnet101", f"resnet101{kind}").replace(
        "grid_anchor" if kind else "no such", "multiscale_anchor"
    )
    model = load(tmp_path, text).task.model
    assert (model.image_size, model.keep_aspect_ratio) == (size, keep)
    notes = pipeline_config.read_pipeline_config(text).notes
    notes = [note for note in notes if "image_resizer" in note]
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


def manual_step(step):
    if step < 100:
        return 0.001 + (0.02 - 0.001) * step / 100
    return 0.02 if step <= 400 else 0.002


def cosine(step):
    if step < 50:
        return 0.01 + (0.1 - 0.01) * step / 50
    return 0.05 * (1 + math.cos(math.pi * (step - 50) / 950))


SCHEDULES = {
    "manual_step": (
        "manual_step_learning_rate { initial_learning_rate: 0.001 warmup: true "
        "schedule { step: 100 learning_rate: 0.02 } schedule { step: 400 learning_rate: 0.002 } }",
        manual_step,
    ),
    "without_warmup": (
        "manual_step_learning_rate { initial_learning_rate: 0.3 "
        "schedule { step: 100 learning_rate: 0.02 } }",
        lambda step: 0.3 if step <= 100 else 0.02,
    ),
    "cosine": (
        "cosine_decay_learning_rate { learning_rate_base: 0.1 total_steps: 1000 "
        "warmup_learning_rate: 0.01 warmup_steps: 50 }",
        cosine,
    ),
    "exponential": (
        "exponential_decay_learning_rate { initial_learning_rate: 0.5 decay_steps: 200 "
        "decay_factor: 0.1 staircase: true }",
        lambda step: 0.5 * 0.1 ** (step // 200),
    ),
    "constant": ("constant_learning_rate { }", lambda step: 0.002),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["momentum", "rms_prop", "adam"])
def test_the_learning_rate_is_the_same_at_every_step(tmp_path, name, optimizer):
    text, wanted = SCHEDULES[name]
    text = SHORT.replace(
        "momentum_optimizer { }", f"{optimizer}_optimizer {{ learning_rate {{ {text} }} }}"
    )
    config = load(tmp_path, text).trainer.optimizer_config
    factory = optimization.OptimizerFactory(config)
    rate = factory.build_learning_rate()
    steps = [0, 1, 30, 60, 99, 120, 200, 390, 410, 700, 999]
    found = [float(rate(step)) if callable(rate) else rate for step in steps]
    np.testing.assert_allclose(found, [wanted(step) for step in steps], rtol=1e-5, atol=1e-7)
    assert factory.build_optimizer(rate) is not None


def test_what_has_no_counterpart_is_told_with_its_line():
    text = SHORT.replace("num_classes", "hard_example_miner { num_hard_examples: 9 } num_classes")
    text = text.replace(
        "use_moving_average: false }",
        "} data_augmentation_options { random_crop_image { } } "
        "fine_tune_checkpoint: 'old/model.ckpt'",
    )
    text += "eval_input_reader { input_type: TF_SEQUENCE_EXAMPLE num_readers: 5 }"
    notes = pipeline_config.read_pipeline_config(text).notes
    for part in (
        "line 3: model.faster_rcnn.hard_example_miner has no counterpart",
        "train_config.data_augmentation_options.random_crop_image has no counterpart",
        "train_config.optimizer.use_moving_average: the weights themselves",
        "old/model.ckpt: is not loaded; `context-rcnn convert`",
        "TF_SEQUENCE_EXAMPLE: images are read from tf.Examples",
    ):
        assert any(part in note for note in notes), (part, notes)
    assert len(notes) == 5


DEFAULTS = """
model { faster_rcnn {
  number_of_stages: 2 num_classes: 2 first_stage_atrous_rate: 1
  first_stage_box_predictor_kernel_size: 3 first_stage_nms_score_threshold: 0 resize_masks: true
  clip_anchors_to_image: false use_matmul_crop_and_resize: false use_static_shapes: false
  inplace_batchnorm_update: false output_final_box_features: false
  second_stage_mask_prediction_loss_weight: 1
  second_stage_classification_loss { weighted_softmax { logit_scale: 1.0 } }
  image_resizer { fixed_shape_resizer {
    height: 320 width: 320 resize_method: BILINEAR convert_to_grayscale: false } }
  feature_extractor { type: "faster_rcnn_resnet101" first_stage_features_stride: 16
    batch_norm_trainable: false override_base_feature_extractor_hyperparams: false }
  first_stage_anchor_generator { grid_anchor_generator {
    height_stride: 16 height_offset: 0 width_offset: 0 scales: 1 aspect_ratios: 1 } }
  first_stage_box_predictor_conv_hyperparams {
    op: CONV activation: RELU regularize_depthwise: false }
  second_stage_box_predictor { mask_rcnn_box_predictor {
    use_dropout: false dropout_keep_probability: 0.5 box_code_size: 4 mask_height: 15
    predict_instance_masks: false mask_prediction_conv_depth: 256 predict_keypoints: false
    mask_width: 15 mask_prediction_num_conv_layers: 2 masks_are_class_agnostic: false } }
  second_stage_post_processing { score_converter: SOFTMAX logit_scale: 1.0
    batch_non_max_suppression {
      use_class_agnostic_nms: false max_classes_per_detection: 1 soft_nms_sigma: 0.0
      change_coordinate_frame: true use_combined_nms: false } }
} }
train_config {
  bias_grad_multiplier: 0.0 merge_multiple_label_boxes: false summarize_gradients: false
  optimizer { momentum_optimizer { } use_moving_average: false } }
train_input_reader {
  name: "" mask_type: NUMERICAL_MASKS num_keypoints: 0 use_display_name: false frame_index: -1
  input_type: TF_EXAMPLE load_instance_masks: false expand_labels_hierarchy: false }
eval_config {
  save_graph: false visualization_export_dir: "" max_num_boxes_to_visualize: 20 skip_scores: false
  groundtruth_box_visualization_color: "black" recall_lower_bound: 0 recall_upper_bound: 1 }
"""


def test_fields_at_their_defaults_are_not_mentioned():
    """As the API's own tools write a config: every field, most of them with its default."""
    assert pipeline_config.read_pipeline_config(DEFAULTS).notes == []
    for old, new in (
        ("soft_nms_sigma: 0.0", "soft_nms_sigma: 0.5"),
        ("resize_masks: true", "resize_masks: false"),
        ("activation: RELU ", "activation: RELU_6 "),
        ("frame_index: -1", "frame_index: 0"),
        ("weighted_softmax { logit_scale: 1.0 }", "weighted_sigmoid { }"),
    ):
        assert old in DEFAULTS
        (note,) = pipeline_config.read_pipeline_config(DEFAULTS.replace(old, new)).notes
        assert new.partition(":")[0].split()[0] in note and "has no counterpart here" in note


@pytest.mark.parametrize(
    "old, new, error",
    [
        ("faster_rcnn {", "ssd {", "faster_rcnn is what can be built here, found model.ssd"),
        ("resnet101", "inception_v2", "feature_extractor.type 'faster_rcnn_inception_v2'"),
        (
            "num_classes: 2",
            "num_classes: 'two'",
            "line 3: model.faster_rcnn.num_classes must be int",
        ),
        ("'faster_rcnn_resnet101'", "{ }", "type must be str, got a message"),
        ("resnet101'", "resnet101' first_stage_features_stride: 8", "stride 8: it is 16 here"),
        ("scales: 1 ", "", "scales and aspect_ratios: set both"),
        ("scales: 1", "height: 9 scales: 1", "height 9 and width 256"),
        ("momentum_optimizer { }", "", "no optimizer is named"),
        ("} }\ntrain", "}\ntrain", "text ends where '}'"),
        (
            "num_classes: 2",
            "context_config { attention_position: NOWHERE }",
            "attention_position NOWHERE: one of POST_BOX_CLASSIFIER, POST_RPN",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(tmp_path, old, new, error):
    assert old in SHORT
    with pytest.raises(ValueError, match=error) as caught:
        load(tmp_path, SHORT.replace(old, new))
    assert str(tmp_path / "pipeline.config") in str(caught.value)


@pytest.mark.parametrize(
    "text, is_one",
    [
        (SHORT, True),
        ("# A comment { }\n\n  train_config { }", True),
        ("eval_input_reader: {\n}", True),
        ("task:\n  model: {num_classes: 5}\n", False),
        ("# model {\nexperiment: faster_rcnn_c4\ntask: {model: {num_classes: 5}}\n", False),
    ],
)
def test_yaml_is_not_taken_for_one(text, is_one):
    assert pipeline_config.is_pipeline_config(text) == is_one


def test_other_files_and_flags_override_it(tmp_path):
    path, other = tmp_path / "pipeline.config", tmp_path / "mine.yaml"
    path.write_text(CONTEXT)
    other.write_text("task: {memory: {bank: banks/mine}}")
    config = schema.load_experiment("", [str(path), str(other)], "task.model.backbone.model_id=10")
    assert config.task.memory.bank == "banks/mine" and config.task.model.backbone.model_id == 10
    saved = tmp_path / "params.yaml"
    schema.save_experiment(config, str(saved))
    assert schema.load_experiment(config_files=[str(saved)]).as_dict() == config.as_dict()
