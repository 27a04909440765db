"""To and from the Object Detection API's examples."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.memory_bank import api_compat
from context_rcnn.memory_bank.store import Bank


def image_example(image_id="image-00007", camera="cam", date=None):
    features = {"image/source_id": image_id, "image/location": camera, "image/encoded": "pixels"}
    if date is not None:
        features["image/date_captured"] = date
    example = tf.train.Example()
    for key, value in features.items():
        example.features.feature[key].bytes_list.value.append(value.encode())
    return example


@pytest.fixture
def camera(write_bank, make_entries):
    return Bank.open(write_bank({"cam": make_entries()}, dtype="float32")).camera("cam")


def test_exported_embedding_has_the_fields_of_the_old_tool(camera):
    features = api_compat.add_embedding(image_example(), camera).features.feature
    vectors = np.array(features["image/embedding"].float_list.value, np.float32).reshape(2, 41)
    start, stop = camera.timeline.of_image("image-00007")
    np.testing.assert_array_equal(vectors, camera.entries(np.arange(start, stop), "released"))
    # 2020-09-13 13:48:20
    np.testing.assert_allclose(
        vectors[0, -5:], [30 / 40, 8 / 12, 12 / 31, 13 / 24, 48 / 60], rtol=1e-6
    )
    assert features["image/embedding_length"].int64_list.value[:] == [41]
    assert features["image/embedding_count"].int64_list.value[:] == [2]
    np.testing.assert_array_equal(
        features["image/embedding_score"].float_list.value, camera.scores[start:stop]
    )
    assert abs(features["image/unix_time"].float_list.value[0] - 1_600_004_900) <= 64
    assert features["image/date_captured"].bytes_list.value[:] == [b"2020-09-13 13:48:20"]
    assert features["image/encoded"].bytes_list.value[:] == [b"pixels"]


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("image_id", ["image-00007", "image-00001", "not in the bank"])
def test_embeddings_come_back(variant, image_id, camera):
    example = api_compat.add_embedding(image_example(image_id), camera, variant)
    name, entries = api_compat.read_embedding(example, variant)
    expected = camera.stored(np.arange(*camera.timeline.of_image(image_id)))
    assert name == "cam"
    np.testing.assert_array_equal(entries.features, expected.features)
    np.testing.assert_allclose(entries.boxes, expected.boxes, atol=3e-7)
    for column in ("scores", "seconds", "dated", "image_ids", "ranks"):
        np.testing.assert_array_equal(getattr(entries, column), getattr(expected, column))


def test_without_a_date_string_the_time_is_that_of_the_entries_to_the_minute(camera):
    example = api_compat.add_embedding(image_example(), camera)
    del example.features.feature["image/date_captured"]
    _, entries = api_compat.read_embedding(example)
    assert list(entries.seconds) == [1_600_004_900 // 60 * 60] * 2


@pytest.mark.parametrize("date", ["1970-01-01 00:00:00", "yesterday"])
def test_a_junk_date_string_means_undated(date, camera):
    example = api_compat.add_embedding(image_example(), camera)
    example.features.feature["image/date_captured"].bytes_list.value[:] = [date.encode()]
    _, entries = api_compat.read_embedding(example)
    assert not entries.dated.any()


def test_copied_banks_come_back(camera):
    indices = np.array([0, 1, 5, 40, 74, 79])  # the last two are undated
    example = api_compat.add_context(image_example(), camera, indices)
    assert example.features.feature["image/context_feature_length"].int64_list.value[:] == [41]
    name, entries = api_compat.read_context(example)
    expected = camera.stored(indices)
    assert name == "cam"
    np.testing.assert_array_equal(entries.features, expected.features)
    np.testing.assert_allclose(entries.boxes, expected.boxes, atol=3e-7)
    np.testing.assert_array_equal(entries.seconds, expected.seconds // 60 * 60)
    np.testing.assert_array_equal(entries.dated, [True] * 4 + [False] * 2)
    np.testing.assert_array_equal(entries.image_ids, expected.image_ids)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "b"], ["a", "a", "b", "b"]),
        (["a", "b", "c", "d", "", ""], ["a", "b", "c", "d"]),
    ],
)
def test_ids_as_the_old_tool_writes_them(ids, expected, camera):
    example = api_compat.add_context(image_example(), camera, np.arange(4))
    values = example.features.feature["image/context_features_image_id_list"].bytes_list.value
    values[:] = [value.encode() for value in ids]
    assert list(api_compat.read_context(example)[1].image_ids) == expected


def test_without_ids_an_entry_has_one_name_in_all_copies(camera):
    def names(indices):
        example = api_compat.add_context(image_example(), camera, indices)
        del example.features.feature["image/context_features_image_id_list"]
        return list(api_compat.read_context(example)[1].image_ids)

    everything = names(np.arange(20))
    assert len(set(everything)) == 20
    assert names(np.arange(5, 12)) == everything[5:12]
    assert names(np.arange(0)) == []


@pytest.mark.parametrize(
    ("key", "field", "values", "message"),
    [
        ("image/embedding", "float_list", [1.0] * 40, "image/embedding: 40 floats .* length 41"),
        ("image/embedding_length", "int64_list", [], "image/embedding_length: 0 values"),
        ("image/embedding_length", "int64_list", [9], "entries of length 9"),
        ("image/embedding_count", "int64_list", [3], "image/embedding_count: 3, but .* has 2"),
        (
            "image/embedding_score",
            "float_list",
            [0.5],
            "image/embedding_score: 1 values, expected 2",
        ),
    ],
)
def test_fields_that_do_not_fit_are_named(key, field, values, message, camera):
    example = api_compat.add_embedding(image_example(), camera)
    getattr(example.features.feature[key], field).value[:] = values
    with pytest.raises(ValueError, match=f"image 'image-00007', .*{message}"):
        api_compat.read_embedding(example)


def test_ids_that_do_not_share_evenly_are_named(camera):
    example = api_compat.add_context(image_example(), camera, np.arange(5))
    values = example.features.feature["image/context_features_image_id_list"].bytes_list.value
    values[:] = [b"a", b"b"]
    with pytest.raises(ValueError, match="2 ids do not share 5 entries evenly"):
        api_compat.read_context(example)
