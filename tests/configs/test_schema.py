"""Settings from names, files and overrides, and the errors when they do not fit."""

import functools
import pathlib

import pytest

from context_rcnn.configs import schema

ROOT = pathlib.Path(__file__).parents[2]


def write(path, text):
    path.write_text(text)
    return str(path)


def test_later_layers_override_earlier_ones(tmp_path):
    first = write(tmp_path / "a.yaml", "trainer: {train_steps: 10, steps_per_loop: 5}\n")
    second = write(tmp_path / "b.yaml", "trainer: {train_steps: 20}\n")
    config = schema.load_experiment(
        "faster_rcnn_c4", [first, second], "task.train_data.seed=7,trainer.max_to_keep=2"
    )
    assert (config.trainer.train_steps, config.trainer.steps_per_loop) == (20, 5)
    assert (config.task.train_data.seed, config.trainer.max_to_keep) == (7, 2)
    assert config.task.model.backbone.model_id == 101


def test_a_file_can_name_its_experiment(tmp_path):
    path = write(tmp_path / "a.yaml", "experiment: faster_rcnn_fpn\n")
    assert schema.load_experiment(config_files=[path]).task.model.backbone.kind == "fpn"


def test_lists_can_be_overridden():
    config = schema.load_experiment("faster_rcnn_c4", (), "task.model.image_size=[320,480]")
    assert list(config.task.model.image_size) == [320, 480]


def test_a_number_may_have_an_exponent_and_no_point(tmp_path):
    """YAML 1.1 takes 1e-3 for text; TensorFlow then says something of a case without a type."""
    rates = "trainer.optimizer_config.learning_rate.stepwise.values"
    overrides = f"{rates}=[1e-2,1e-3,5E-05],task.losses.weight_decay=1e-4,task.train_data.seed=10"
    decay = write(tmp_path / "a.yaml", "task: {losses: {weight_decay: 2e-3}}\n")
    for files, expected in (([], 1e-4), ([decay], 1e-4)):
        config = schema.load_experiment("faster_rcnn_tiny", files, overrides)
        values = config.trainer.optimizer_config.learning_rate.stepwise.values
        assert list(values) == [0.01, 0.001, 5e-5]
        assert config.task.losses.weight_decay == expected and config.task.train_data.seed == 10
    assert schema.load_experiment("faster_rcnn_tiny", [decay]).task.losses.weight_decay == 0.002


def test_saved_settings_read_back_the_same(tmp_path):
    config = schema.load_experiment("faster_rcnn_tiny", (), "trainer.train_steps=3")
    schema.save_experiment(config, str(tmp_path / "params.yaml"))
    again = schema.load_experiment(config_files=[str(tmp_path / "params.yaml")])
    assert again.as_dict() == config.as_dict()


@pytest.mark.parametrize(
    "text, message",
    [
        ("experiment: faster_rcn_c4", "'faster_rcn_c4' does not exist; did you mean faster_rcnn"),
        ("trainer: {train_step: 1}", "no setting trainer.train_step; did you mean trainer.train_s"),
        ("trainer: {train_steps: many}", "trainer.train_steps must be int, got 'many'"),
        ("trainer: {train_steps: true}", "trainer.train_steps must be int, got True"),
        ("task: {model: 5}", "task.model is a group of settings, got 5"),
        ("task: {model: {image_size: 640}}", "task.model.image_size must be list of int, got 6"),
        (
            "task: {model: {image_size: [640, wide]}}",
            "image_size must be list of int, got [640, 'wide",
        ),
        ("- 1\n- 2", "expected settings by name, found list"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file(tmp_path, text, message):
    if "experiment" not in text and text[0].isalpha() and "[" not in text[:4]:
        text = f"experiment: faster_rcnn_c4\n{text}"
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(ValueError) as error:
        schema.load_experiment(config_files=[path])
    assert message in str(error.value)
    assert "bad.yaml" in str(error.value) or "experiment" in text


def test_no_experiment_at_all_says_what_there_is():
    with pytest.raises(ValueError, match="--experiment.*faster_rcnn_c4"):
        schema.load_experiment()


WHOLE = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if "\nexperiment:" in p.read_text())
PARTS = sorted(set((ROOT / "configs").rglob("*.yaml")) - set(WHOLE))


@pytest.mark.parametrize("path", WHOLE, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_shipped_file_loads_and_opens_with_its_command(path):
    config = schema.load_experiment(config_files=[str(path)])
    assert config.task.train_data.input_path
    head = path.read_text().split("experiment:")[0]
    assert "context-rcnn train" in head and str(path.relative_to(ROOT)) in head


# The experiments that rows are given after, by the folder of the rows.
TABLES = {
    "table1": "context_rcnn",
    "simulation": "context_rcnn",
    "mega": "mega",
    "memory_warps": "memnet",
    "reid": "psta",
    "stmn": "stmn",
}
OTHERS = ("fgfa", "two_speed")  # rows of Memory Warps' tables that come after these


@functools.cache
def loaded(whole):
    return schema.load_experiment(config_files=[str(whole)]).as_dict()


@pytest.mark.parametrize("path", PARTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_row_of_the_tables_fits_every_data_set(path):
    assert path.read_text().startswith("# ")
    name = TABLES[path.parent.name]
    if name == "memnet" and path.stem.startswith(OTHERS):
        name = next(other for other in OTHERS if path.stem.startswith(other))
    wholes = sorted((ROOT / "configs").glob(f"*/{name}.yaml"))
    assert len(wholes) == {"context_rcnn": 4, "psta": 5}.get(name, 2)
    for whole in wholes:
        plain = loaded(whole)
        row = schema.load_experiment(config_files=[str(whole), str(path)])
        assert path.stem == "lt_attention" or row.as_dict() != plain


@pytest.mark.parametrize(
    ("experiment", "boundaries", "values"),
    [
        # Context R-CNN, as its configuration says; MEGA, its section 4.3: one drop at 80,000.
        ("context_rcnn_c4", [200_000, 266_666], [0.002, 0.0002, 0.00002]),
        ("mega_dc5", [80_000], [0.001, 0.0001]),
    ],
)
def test_the_learning_rate_drops_where_the_papers_say(experiment, boundaries, values):
    trainer = schema.load_experiment(experiment).trainer
    rate = trainer.optimizer_config.learning_rate.get()
    assert rate.boundaries == boundaries
    assert rate.values == pytest.approx(values)
