"""The Object Detection API's `pipeline.config`: its Faster R-CNN and Context R-CNN as settings.

Missing fields have that API's defaults, not those of this package. `notes` lists fields that have
no counterpart here or work in another way. Other kinds of models are refused.
"""

import dataclasses
import re
from typing import Any

from context_rcnn.configs import text_format
from context_rcnn.configs.text_format import Group

# Fields about speed or place, which never change results: ignored without a note.
# fmt: off
_IMMATERIAL = {
    "batch_queue_capacity", "eval_interval_secs", "filenames_shuffle_buffer_size",
    "fine_tune_checkpoint_type", "fine_tune_checkpoint_version", "from_detection_checkpoint",
    "height_stride", "include_source_id", "initializer", "inplace_batchnorm_update",
    "keep_checkpoint_every_n_hours", "load_all_detection_checkpoint_vars", "load_context_features",
    "max_evals", "min_after_dequeue", "num_batch_queue_threads", "num_epochs", "num_examples",
    "num_parallel_batches", "num_parallel_map_calls", "num_prefetch_batches", "num_readers", "op",
    "prefetch_queue_capacity", "prefetch_size", "queue_capacity", "read_block_length",
    "replicas_to_aggregate", "retain_original_images", "shuffle", "startup_delay_steps",
    "sync_replicas", "unpad_groundtruth_tensors", "use_bfloat16", "use_depthwise",
    "use_matmul_crop_and_resize", "use_matmul_gather_in_matcher", "use_moving_averages",
    "use_static_balanced_label_sampler", "use_static_shapes", "use_static_shapes_for_eval",
    "width_stride",
}
# fmt: on
# Defaults of fields that nobody reads here, where they are not zero, false or empty. Its own tools
# write all fields, with their defaults.
_DEFAULTS: dict[str, Any] = {
    "activation": "RELU",
    "additional_layer_depth": 256,
    "box_code_size": 4,
    "change_coordinate_frame": True,
    "frame_index": -1,
    "groundtruth_box_visualization_color": "black",
    "mask_height": 15,
    "mask_prediction_conv_depth": 256,
    "mask_prediction_num_conv_layers": 2,
    "mask_type": "NUMERICAL_MASKS",
    "mask_width": 15,
    "max_classes_per_detection": 1,
    "max_level": 7,
    "max_num_boxes_to_visualize": 20,
    "min_level": 3,
    "normalize_coordinates": True,
    "recall_upper_bound": 1.0,
    "resize_masks": True,
    "resize_method": "BILINEAR",
    "second_stage_mask_prediction_loss_weight": 1.0,
    "logit_scale": 1.0,
}
_RESNET = re.compile(r"faster_rcnn_resnet(50|101|152)(_v1)?(_fpn)?(_keras)?")
# Our YAML has none of these at its top, though it may have a `model: {...}` further in.
_BEGINNING = re.compile(r"(\s|#.*\n)*(model|train_config|\w+_input_reader|eval_config)\s*:?\s*\{")
_EXPERIMENTS = {"c4": "faster_rcnn_c4", "fpn": "faster_rcnn_fpn"}
_UNSET = "PATH_TO_BE_CONFIGURED"


@dataclasses.dataclass(frozen=True)
class Converted:
    """The content of a pipeline config.

    Attributes:
        experiment: name of the experiment whose settings are the base.
        values: settings that override them.
        notes: differences, one sentence each.
    """

    experiment: str
    values: dict[str, Any]
    notes: list[str]


def is_pipeline_config(text: str) -> bool:
    """Whether a text is one, rather than YAML."""
    return bool(_BEGINNING.match(text))


def read_pipeline_config(text: str) -> Converted:
    """Our settings for the text of a pipeline config.

    Raises:
        ValueError: If the text cannot be read, a field has a value of the wrong type, or the model
            is none that is built here.
    """
    notes: list[str] = []
    root = Group(text_format.parse(text), notes)
    model, context = _model(root.group("model"))
    task: dict[str, Any] = {"model": model["model"], "losses": model["losses"]}
    if context:
        task |= context
        experiment = "context_rcnn_c4"
    else:
        experiment = _EXPERIMENTS[model["model"]["backbone"]["kind"]]
    trainer, train_data = _training(root.group("train_config"), task["losses"])
    task["train_data"] = train_data | _input(root.group("train_input_reader"), task)
    task["validation_data"], task["evaluation"] = _evaluation(root.group("eval_config"))
    readers = root.groups("eval_input_reader")
    if readers:
        task["validation_data"] |= _input(readers[0], task, evaluation=True)
    if len(readers) > 1:
        notes.append("eval_input_reader: there are several; the first is evaluated")
    for name, field in root.unread(_IMMATERIAL):
        if not _is_default(name, field.value):
            notes.append(f"line {field.line}: {name} has no counterpart here")
    return Converted(experiment, {"task": task, "trainer": trainer}, notes)


def _is_default(name: str, value: Any) -> bool:
    """Whether a field that nobody reads says what it says anyway."""
    if isinstance(value, text_format.Message):
        return False
    return value == _DEFAULTS.get(name.rpartition(".")[2], type(value)())


def _model(model: Group) -> tuple[dict, dict]:
    """Settings of the detector and its losses; and of its memory, empty where it has none."""
    if "faster_rcnn" not in model:
        kinds = ", ".join(name for name, _ in model.unread(())) or "nothing"
        raise ValueError(f"model: faster_rcnn is what can be built here, found {kinds}")
    rcnn = model.group("faster_rcnn")
    rcnn.only("number_of_stages", 2, 2, "the detector has two stages")
    backbone = _backbone(rcnn.group("feature_extractor"))
    conv = rcnn.group("first_stage_box_predictor_conv_hyperparams")
    head = rcnn.group("second_stage_box_predictor").group("mask_rcnn_box_predictor")
    decays = {
        group.group("regularizer").group("l2_regularizer").one("weight", 1.0)
        for group in (conv, head.group("fc_hyperparams"))
        if "regularizer" in group
    }
    if decays - {0.0}:
        model.notes.append(
            "l2_regularizer: weight decay is that of all kernels here, the backbone's too"
        )
    head.only("use_dropout", False, False, "there is no dropout")
    head.one("dropout_keep_probability", 0.5)
    head.only("predict_instance_masks", False, False, "there are no masks")
    head.only("share_box_across_classes", False, False, "each class has its own box offsets")
    rcnn.group("second_stage_classification_loss").group("weighted_softmax")
    rcnn.only("first_stage_atrous_rate", 1, 1, "the first stage's convolution is not dilated")
    rcnn.only("first_stage_box_predictor_kernel_size", 3, 3, "it is 3")
    rcnn.only("first_stage_nms_score_threshold", 0.0, 0.0, "no proposal is left out by its score")
    rcnn.only("initial_crop_size", 14, 14, "it is 14")
    rcnn.only("maxpool_kernel_size", 2, 2, "it is 2")
    rcnn.only("maxpool_stride", 2, 2, "it is 2")
    rcnn.one("clip_anchors_to_image", False)  # Ours that reach out of the image teach nothing.
    values = {
        "num_classes": rcnn.one("num_classes", 0),
        **_resizer(rcnn.group("image_resizer"), backbone["kind"]),
        "backbone": backbone,
        "anchors": _anchors(rcnn.group("first_stage_anchor_generator"), backbone["kind"]),
        "proposals": {
            "filters": rcnn.one("first_stage_box_predictor_depth", 512),
            "nms_iou": _short(rcnn.one("first_stage_nms_iou_threshold", 0.7)),
            "count": rcnn.one("first_stage_max_proposals", 300),
            "anchor_samples": rcnn.one("first_stage_minibatch_size", 256),
            "anchor_positive_fraction": rcnn.one("first_stage_positive_balance_fraction", 0.5),
        },
        "boxes": {
            "samples": rcnn.one("second_stage_batch_size", 64),
            "positive_fraction": rcnn.one("second_stage_balance_fraction", 0.25),
        },
        "detections": _post_processing(rcnn.group("second_stage_post_processing")),
    }
    losses = {
        "objectness": rcnn.one("first_stage_objectness_loss_weight", 1.0),
        "proposal_boxes": rcnn.one("first_stage_localization_loss_weight", 1.0),
        "classes": rcnn.one("second_stage_classification_loss_weight", 1.0),
        "boxes": rcnn.one("second_stage_localization_loss_weight", 1.0),
        "weight_decay": max(decays, default=0.0),
    }
    context = _context(rcnn.group("context_config")) if "context_config" in rcnn else {}
    return {"model": values, "losses": losses}, context


def _backbone(extractor: Group) -> dict:
    kind = extractor.one("type", "")
    match = _RESNET.fullmatch(kind)
    if match is None:
        raise ValueError(
            f"{extractor.name('type')} {kind!r}: feature extractors here are ResNets, "
            "faster_rcnn_resnet50, 101 or 152, also with _fpn or _keras"
        )
    stride = extractor.one("first_stage_features_stride", 16)
    if stride != 16 and not match[3]:
        raise ValueError(f"{extractor.name('first_stage_features_stride')} {stride}: it is 16 here")
    if match[3]:
        extractor.group("fpn")
    return {
        "kind": "fpn" if match[3] else "c4",
        "model_id": int(match[1]),
        "freeze_batch_norm": not extractor.one("batch_norm_trainable", False),
    }


def _resizer(resizer: Group, kind: str) -> dict:
    keep = "keep_aspect_ratio_resizer" in resizer
    if keep:
        group = resizer.group("keep_aspect_ratio_resizer")
        size = [group.one("min_dimension", 600), group.one("max_dimension", 1024)]
        group.one("pad_to_max_dimension", False)
        resizer.notes.append(
            f"{resizer.name('keep_aspect_ratio_resizer')}: images are fitted into {size[0]} rows "
            f"of {size[1]} pixels; upright ones come out smaller than there"
        )
    else:
        group = resizer.group("fixed_shape_resizer")
        size = [group.one("height", 300), group.one("width", 300)]
    stride = 64 if kind == "fpn" else 16
    strided = [-(-side // stride) * stride for side in size]
    if strided != size:
        resizer.notes.append(
            f"{resizer.name('size')} {size[0]}x{size[1]}: {strided[0]}x{strided[1]}, the next "
            f"multiple of {stride}"
        )
    return {"image_size": strided, "keep_aspect_ratio": keep}


def _anchors(generator: Group, kind: str) -> dict:
    if kind == "fpn":
        pyramid = generator.group("multiscale_anchor_generator")
        pyramid.only("min_level", 3, 2, "the pyramid's levels are 2 to 6")
        pyramid.only("max_level", 7, 6, "the pyramid's levels are 2 to 6")
        octaves = pyramid.one("scales_per_octave", 2)
        return {
            "size": pyramid.one("anchor_scale", 4.0) * 2**6,
            "scales": [2 ** (i / octaves) for i in range(octaves)],
            "aspect_ratios": pyramid.many("aspect_ratios") or [1.0, 2.0, 0.5],
        }
    grid = generator.group("grid_anchor_generator")
    height, width = grid.one("height", 256), grid.one("width", 256)
    if height != width:
        raise ValueError(f"{grid.name('height')} {height} and width {width}: they are one here")
    scales, ratios = grid.many("scales"), grid.many("aspect_ratios")
    if not scales or not ratios:
        raise ValueError(f"{grid.name('scales')} and aspect_ratios: set both")
    return {"size": float(height), "scales": scales, "aspect_ratios": ratios}


def _post_processing(processing: Group) -> dict:
    nms = processing.group("batch_non_max_suppression")
    processing.only("score_converter", "IDENTITY", "SOFTMAX", "scores are a softmax's")
    total = nms.one("max_total_detections", 100)
    each = nms.one("max_detections_per_class", 100)
    if each < total:
        nms.notes.append(
            f"{nms.name('max_detections_per_class')} {each}: a class may have as many detections "
            f"as there are in all, {total}"
        )
    return {
        "score_threshold": _short(nms.one("score_threshold", 0.0)),
        "nms_iou": _short(nms.one("iou_threshold", 0.6)),
        "count": total,
    }


def _context(context: Group) -> dict:
    """Context R-CNN as its authors released it, on a bank."""
    position = context.one("attention_position", "POST_BOX_CLASSIFIER")
    positions = {"POST_BOX_CLASSIFIER": "features", "POST_RPN": "crops"}
    if position not in positions:
        raise ValueError(
            f"{context.name('attention_position')} {position}: one of {', '.join(positions)}"
        )
    blocks = {
        "heads": context.one("num_attention_heads", 1),
        "layers": context.one("num_attention_layers", 1),
    }
    in_sequence = context.one("self_attention_in_sequence", False)
    length = context.one("context_feature_length", 0)
    context.notes.append(
        "context_config: context comes from a bank, task.memory.bank; `context-rcnn remember` "
        "builds one, `context-rcnn bank import` makes one of context_features in examples"
    )
    return {
        "clip": {"frames": 1},
        "memory": {
            "max_entries": context.one("max_num_context_features", 8500),
            "calendar": True,
            "variant": "released",
        },
        "temporal": {
            "type": "context_rcnn",
            "context_rcnn": {
                "variant": "released",
                "depth": context.one("attention_bottleneck_dimension", 2048),
                "temperature": _short(context.one("attention_temperature", 0.01)),
                "initial_output": 1.0,
                "position": positions[position],
                "combine": "sequence" if in_sequence else "parallel",
                "short_term": {"window": int(context.one("use_self_attention", False)), **blocks},
                "long_term": {
                    "enabled": context.one("use_long_term_attention", True),
                    "entry_size": length,
                    **blocks,
                },
            },
        },
    }


def _training(train: Group, losses: dict) -> tuple[dict, dict]:
    """Settings of the trainer and of the training data; may take the weight decay away."""
    flips = 0.0
    for step in train.groups("data_augmentation_options"):
        if "random_horizontal_flip" in step:
            flips = step.group("random_horizontal_flip").one("probability", 0.5)
    if not train.one("add_regularization_loss", True):
        losses["weight_decay"] = 0.0
    checkpoint = train.one("fine_tune_checkpoint", "")
    if checkpoint and not checkpoint.startswith(_UNSET):
        train.notes.append(
            f"{train.name('fine_tune_checkpoint')} {checkpoint}: is not loaded; "
            "`context-rcnn convert` makes a run of it, which task.init_checkpoint may name"
        )
    trainer: dict[str, Any] = {"optimizer_config": _optimizer(train)}
    steps = train.one("num_steps", 0)
    if steps:
        trainer["train_steps"] = steps
    data = {
        "global_batch_size": train.one("batch_size", 32),
        "max_boxes": train.one("max_number_of_boxes", 100),
        "flip_probability": flips,
    }
    return trainer, data


def _optimizer(train: Group) -> dict:
    optimizer = train.group("optimizer")
    if optimizer.one("use_moving_average", True):
        train.notes.append(
            f"{optimizer.name('use_moving_average')}: the weights themselves are evaluated, no "
            "moving average is kept"
        )
    optimizer.one("moving_average_decay", 0.9999)
    # A tensor at a time, as there; our own experiments clip all of them together.
    clip = train.one("gradient_clipping_by_norm", 0.0) or None
    clips = {"clipnorm": clip, "global_clipnorm": None}
    if "adam_optimizer" in optimizer:
        kind, group = "adam", optimizer.group("adam_optimizer")
        values = {"epsilon": group.one("epsilon", 1e-8)}
    elif "rms_prop_optimizer" in optimizer:
        kind, group = "rmsprop", optimizer.group("rms_prop_optimizer")
        values = {
            "momentum": _short(group.one("momentum_optimizer_value", 0.9)),
            "rho": _short(group.one("decay", 0.9)),
            "epsilon": group.one("epsilon", 1.0),
        }
    elif "momentum_optimizer" in optimizer:
        kind, group = "sgd", optimizer.group("momentum_optimizer")
        values = {"momentum": _short(group.one("momentum_optimizer_value", 0.9))}
    else:
        raise ValueError(f"{optimizer.name('momentum_optimizer')}: no optimizer is named")
    rate = _learning_rate(group.group("learning_rate"))
    return {"optimizer": {"type": kind, kind: values | clips}} | rate


def _learning_rate(rate: Group) -> dict:
    """The rate's schedule, and its warm-up if there is one."""
    warmup: dict[str, Any] = {}
    schedule: dict[str, Any]
    if "manual_step_learning_rate" in rate:
        group = rate.group("manual_step_learning_rate")
        values = [_short(group.one("initial_learning_rate", 0.002))]
        boundaries = []
        for step in group.groups("schedule"):
            boundaries.append(step.one("step", 0))
            values.append(_short(step.one("learning_rate", 0.002)))
        if group.one("warmup", False) and boundaries:
            warmup = {
                "warmup_steps": boundaries.pop(0),
                "warmup_learning_rate": values.pop(0),
            }
        kind, schedule = "stepwise", {"boundaries": boundaries, "values": values}
        if not boundaries:
            kind, schedule = "constant", {"learning_rate": values[0]}
    elif "cosine_decay_learning_rate" in rate:
        group = rate.group("cosine_decay_learning_rate")
        steps, hold = group.one("warmup_steps", 10000), group.one("hold_base_rate_steps", 0)
        if hold:
            name = group.name("hold_base_rate_steps")
            rate.notes.append(f"{name} {hold}: meanwhile the rate comes near its base, not to it")
        warm = _short(group.one("warmup_learning_rate", 0.0002))
        warmup = {"warmup_steps": steps, "warmup_learning_rate": warm} if steps else {}
        kind = "cosine"
        schedule = {
            "initial_learning_rate": _short(group.one("learning_rate_base", 0.002)),
            "decay_steps": group.one("total_steps", 4000000) - steps - hold,
            "offset": steps + hold,
        }
    elif "exponential_decay_learning_rate" in rate:
        group = rate.group("exponential_decay_learning_rate")
        kind = "exponential"
        schedule = {
            "initial_learning_rate": _short(group.one("initial_learning_rate", 0.002)),
            "decay_steps": group.one("decay_steps", 4000000),
            "decay_rate": _short(group.one("decay_factor", 0.95)),
            "staircase": group.one("staircase", True),
        }
    else:
        kind, group = "constant", rate.group("constant_learning_rate")
        schedule = {"learning_rate": _short(group.one("learning_rate", 0.002))}
    return {
        "learning_rate": {"type": kind, kind: schedule},
        "warmup": {"type": "linear", "linear": warmup} if warmup else {"type": None},
    }


def _input(reader: Group, task: dict, evaluation: bool = False) -> dict:
    """Settings of an input; sets the task's label map, too."""
    label_map = reader.one("label_map_path", "")
    if label_map and not label_map.startswith(_UNSET):
        task["label_map"] = label_map
    kind = reader.one("input_type", "TF_EXAMPLE")
    if kind == "TF_SEQUENCE_EXAMPLE":
        reader.notes.append(
            f"{reader.name('input_type')} {kind}: images are read from tf.Examples; "
            "`context-rcnn bank import --images` takes sequence examples apart"
        )
    paths = reader.group("tf_record_input_reader").many("input_path", str)
    paths = [path for path in paths if path and not path.startswith(_UNSET)]
    values: dict[str, Any] = {"input_path": ",".join(paths)} if paths else {}
    sample = reader.one("sample_1_of_n_examples", 1)
    if evaluation:
        values["sample_1_of_n"] = sample
    elif sample != 1:
        reader.notes.append(f"{reader.name('sample_1_of_n_examples')}: all examples teach")
    buffer = reader.one("shuffle_buffer_size", 2048)
    return values if evaluation else values | {"shuffle_buffer_size": buffer}


def _evaluation(config: Group) -> tuple[dict, dict]:
    for metrics in config.many("metrics_set", str):
        if metrics != "coco_detection_metrics":
            config.notes.append(f"{config.name('metrics_set')} {metrics}: COCO's are measured")
    batch = {"global_batch_size": config.one("batch_size", 1)} if "batch_size" in config else {}
    return batch, {
        "images": config.one("num_visualizations", 10),
        "draw_threshold": _short(config.one("min_score_threshold", 0.5)),
    }


def _short(number: float) -> float:
    """The number that somebody wrote, of one that went through float32: .699999988 is .7."""
    return float(f"{number:.6g}")
