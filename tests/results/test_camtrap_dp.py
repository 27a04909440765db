"""Camera Trap Data Packages: valid by frictionless, and right by hand.

The rules of the three tables stand below in short. They are held to the published schemas where
these are at hand: CAMTRAP_DP_SCHEMAS names a folder with the four files of
https://github.com/tdwg/camtrap-dp/tree/1.0.2.
"""

import csv
import json
import os
import pathlib

import frictionless
import jsonschema
import pytest

from context_rcnn.results.camtrap_dp import read_camtrap_dp
from context_rcnn.results.options import CamtrapOptions, Options
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.write import Outputs, write_results

TIME = "datetime:%Y-%m-%dT%H:%M:%S%z"
# Name, type, and what it must be; "!" is required, "!!" unique as well.
RULES = {
    "deployments": """
        deploymentID string !!
        locationID string
        locationName string
        latitude number ! -90..90
        longitude number ! -180..180
        coordinateUncertainty integer 1..
        deploymentStart datetime !
        deploymentEnd datetime !
        setupBy string
        cameraID string
        cameraModel string
        cameraDelay integer 0..
        cameraHeight number 0..
        cameraDepth number 0..
        cameraTilt integer -90..90
        cameraHeading integer 0..360
        detectionDistance number 0..
        timestampIssues boolean
        baitUse boolean
        featureType string roadPaved|roadDirt|trailHiking|trailGame|roadUnderpass|roadOverpass|\
roadBridge|culvert|burrow|nestSite|carcass|waterSource|fruitingTree
        habitat string
        deploymentGroups string
        deploymentTags string
        deploymentComments string
    """,
    "media": r"""
        mediaID string !!
        deploymentID string !
        captureMethod string activityDetection|timeLapse
        timestamp datetime !
        filePath string ! /^(?=^[^./~])(^((?!\.{2}).)*$).*$
        filePublic boolean !
        fileName string
        fileMediatype string ! /^(image|video|audio)/.*$
        exifData any
        favorite boolean
        mediaComments string
    """,
    "observations": """
        observationID string !!
        deploymentID string !
        mediaID string
        eventID string
        eventStart datetime !
        eventEnd datetime !
        observationLevel string ! media|event
        observationType string ! animal|human|vehicle|blank|unknown|unclassified
        cameraSetupType string setup|calibration
        scientificName string
        count integer 1..
        lifeStage string adult|subadult|juvenile
        sex string female|male
        behavior string
        individualID string
        individualPositionRadius number 0..
        individualPositionAngle number -90..90
        individualSpeed number 0..
        bboxX number 0..1
        bboxY number 0..1
        bboxWidth number 1e-15..1
        bboxHeight number 1e-15..1
        classificationMethod string human|machine
        classifiedBy string
        classificationTimestamp datetime
        classificationProbability number 0..1
        observationTags string
        observationComments string
    """,
}
KEYS = {
    "deployments": ("deploymentID", ()),
    "media": ("mediaID", ("deploymentID",)),
    "observations": ("observationID", ("deploymentID", "mediaID")),
}
SCHEMAS = os.environ.get("CAMTRAP_DP_SCHEMAS", "")
BASE = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"


def field(line):
    name, kind, *rest = line.split()
    rules = {"required": any(word in ("!", "!!") for word in rest)}
    if "!!" in rest:
        rules["unique"] = True
    for word in set(rest) - {"!", "!!"}:
        if word.startswith("/"):
            rules["pattern"] = word[1:]
        elif ".." in word:
            low, high = word.split("..")
            rules["minimum"] = float(low)
            rules |= {"maximum": float(high)} if high else {}
        else:
            rules["enum"] = word.split("|")
    described = {"name": name, "type": kind, "constraints": rules}
    return described | ({"format": TIME.partition(":")[2]} if kind == "datetime" else {})


def table_schema(table):
    key, references = KEYS[table]
    owners = {"deploymentID": "deployments", "mediaID": "media"}
    schema = {
        "fields": [field(line) for line in RULES[table].strip().splitlines()],
        "missingValues": ["", "NA", "NaN", "nan"],
        "primaryKey": key,
    }
    if references:
        schema["foreignKeys"] = [
            {"fields": name, "reference": {"resource": owners[name], "fields": name}}
            for name in references
        ]
    return schema


def published_schema(table):
    return json.loads(pathlib.Path(SCHEMAS, f"{table}-table-schema.json").read_text())


def errors(folder, schema_of):
    """What frictionless has to say about a package."""
    descriptor = json.loads((folder / "datapackage.json").read_text())
    del descriptor["profile"]  # an address; see test_the_package_keeps_to_the_published_profile
    for resource in descriptor["resources"]:
        assert resource["schema"] == f"{BASE}/{resource['name']}-table-schema.json"
        resource["schema"] = schema_of(resource["name"])
    report = frictionless.Package.from_descriptor(descriptor, basepath=str(folder)).validate()
    found = [error.message for error in report.errors]
    return found + [error.message for task in report.tasks for error in task.errors]


def check(folder):
    assert errors(folder, table_schema) == []
    if SCHEMAS:
        assert errors(folder, published_schema) == []


@pytest.fixture
def deployments(tmp_path):
    def write(text):
        path = tmp_path / "deployments.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def write(make_journal, tmp_path, deployments):
    """Writes a package, holds it to the rules, and returns its tables, package and failures."""

    def write_and_load(images, table=None, timezone="-07:00", camtrap=None, **options):
        places = {"loc_33": "34.05,-118.24", "road": "34.5,-118.5"}
        rows = [f"{one.camera},{places[one.camera]}" for one in images if one.camera in places]
        lines = ["deploymentID,latitude,longitude", *dict.fromkeys(rows)]
        path = deployments(table or "\n".join(lines))
        camtrap = CamtrapOptions(path, timezone, **(camtrap or {}))
        folder, failures = tmp_path / "package", tmp_path / "failures.jsonl"
        write_results(
            make_journal(images),
            Outputs(camtrap_dp=folder, failures=failures),
            Options(camtrap=camtrap, **options),
            progress=False,
        )
        check(folder)
        tables = {}
        for name in RULES:
            with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
                tables[name] = list(csv.DictReader(file))
        package = json.loads((folder / "datapackage.json").read_text())
        return tables, package, [json.loads(line) for line in failures.open()]

    return write_and_load


def image(name="a.jpg", camera="loc_33", seconds=1380893513, detections=(), **fields):
    found = tuple(Detection((0.1, 0.1, 0.5, 0.5), i, score) for i, score in detections)
    return ImageResult(
        name, camera=camera, seconds=seconds, width=8, height=8, detections=found, **fields
    )


def test_the_public_example_comes_out(write, small_run):
    tables, _, failures = write(small_run[1:], taxa={"bobcat": "Lynx rufus"})
    assert failures == []
    medium = {name: value for name, value in tables["media"][0].items() if value}
    assert medium == {
        "mediaID": "loc_33/im-0001.jpg",
        "deploymentID": "loc_33",
        "captureMethod": "activityDetection",
        "timestamp": "2013-10-04T13:31:53-07:00",
        "filePath": "loc_33/im-0001.jpg",
        "filePublic": "false",
        "fileName": "im-0001.jpg",
        "fileMediatype": "image/jpeg",
    }
    bobcat, empty = (
        {name: value for name, value in row.items() if value} for row in tables["observations"][:2]
    )
    event = {
        "deploymentID": "loc_33",
        "eventID": "seq-a",
        "eventStart": "2013-10-04T13:31:53-07:00",
        "eventEnd": "2013-10-04T13:31:54-07:00",
        "observationLevel": "media",
        "classificationMethod": "machine",
        "classifiedBy": "context_rcnn_resnet101 0.1",
        "classificationTimestamp": "2026-05-26T19:11:27Z",
    }
    assert bobcat == event | {
        "observationID": "loc_33/im-0001.jpg#1",
        "mediaID": "loc_33/im-0001.jpg",
        "observationType": "animal",
        "scientificName": "Lynx rufus",
        "count": "1",
        "bboxX": "0.2925",
        "bboxY": "0.2724",
        "bboxWidth": "0.1084",
        "bboxHeight": "0.1212",
        "classificationProbability": "0.926",
        "observationTags": "class:bobcat",
    }
    assert empty == event | {
        "observationID": "loc_33/im-0002.jpg#1",
        "mediaID": "loc_33/im-0002.jpg",
        "observationType": "blank",
    }


def test_deployments_end_with_their_last_image_where_nobody_says_more(write, small_run):
    rows = write(small_run[1:])[0]["deployments"]
    assert [
        (row["deploymentID"], row["deploymentStart"], row["deploymentEnd"]) for row in rows
    ] == [
        ("loc_33", "2013-10-04T13:31:53-07:00", "2013-10-04T13:31:54-07:00"),
        ("road", "2013-10-04T13:33:23-07:00", "2013-10-04T13:33:23-07:00"),
    ]


def test_the_package_says_what_is_in_it(write, small_run):
    taxa = {"bobcat": "x;mammalia;carnivora;felidae;lynx;rufus;bobcat", "coyote": "Canis latrans"}
    options = {"title": "Lynx of Größe", "contributors": ("A. Lab",), "sampling_design": "targeted"}
    _, package, _ = write(small_run[1:], taxa=taxa, camtrap=options)
    assert package["profile"] == f"{BASE}/camtrap-dp-profile.json"
    assert package["name"] == "lynx-of-gr-e"
    assert package["created"] == "2026-05-26T19:11:27Z"
    assert package["contributors"] == [{"title": "A. Lab", "role": "contributor"}]
    assert package["project"] == {
        "title": "Lynx of Größe",
        "samplingDesign": "targeted",
        "captureMethod": ["activityDetection"],
        "individualAnimals": False,
        "observationLevel": ["media"],
    }
    assert package["temporal"] == {"start": "2013-10-04", "end": "2013-10-04"}
    # The coyote's score is below the threshold: it was not observed.
    assert [taxon["scientificName"] for taxon in package["taxonomic"]] == ["Lynx rufus"]
    corners = package["spatial"]["coordinates"][0]
    assert package["spatial"]["type"] == "Polygon"
    assert corners[0] == corners[-1] == [-118.5, 34.05]
    assert {tuple(c) for c in corners} == {(x, y) for x in (-118.5, -118.24) for y in (34.05, 34.5)}


def test_people_vehicles_and_what_could_not_be_looked_at(write):
    images = [
        image("a.jpg", detections=[(3, 0.9), (4, 0.5), (2, 0.19), (1, -0.9)]),
        image("b.jpg", detections=[(1, -0.9)]),
        ImageResult(
            "c.jpg", camera="loc_33", seconds=1380893513, failure="truncated", failure_text="ends"
        ),
    ]
    tables, _, failures = write(images, camtrap={"file_public": True})
    found = [(row["mediaID"], row["observationType"]) for row in tables["observations"]]
    assert found == [
        ("a.jpg", "human"),
        ("a.jpg", "vehicle"),
        ("b.jpg", "blank"),
        ("c.jpg", "unclassified"),
    ]
    assert tables["observations"][3]["classificationMethod"] == ""
    assert tables["media"][2]["mediaComments"] == "truncated: ends"
    public = [row["filePublic"] for row in tables["media"]]
    assert public == ["false", "true", "false"], "people stay private, and so does the unknown"
    assert failures == []


def test_the_threshold_decides_what_is_an_observation(write):
    images = [image(detections=[(1, 0.2), (2, 0.3)])]
    assert len(write(images)[0]["observations"]) == 2
    assert len(write(images, typical_threshold=0.25)[0]["observations"]) == 1
    assert write(images, typical_threshold=0.5)[0]["observations"][0]["observationType"] == "blank"


def test_what_the_standard_has_no_room_for_is_named(write):
    images = [
        image("ok.jpg"),
        image("undated.jpg", seconds=None),
        image("junk.jpg", seconds=86400),
        image("camera-less.jpg", camera=""),
        image("a..b.jpg"),
        image(".hidden.jpg"),
        image("~a.jpg"),
        image("no-suffix"),
    ]
    tables, _, failures = write(images)
    assert [row["mediaID"] for row in tables["media"]] == ["ok.jpg"]
    lost = {f["file"]: f["reason"] for f in failures if f["lost"] == "image"}
    assert lost == {
        "undated.jpg": "undated",
        "junk.jpg": "undated",
        "camera-less.jpg": "no_camera",
        "a..b.jpg": "bad_field",
        ".hidden.jpg": "bad_field",
        "~a.jpg": "bad_field",
        "no-suffix": "bad_field",
    }
    assert len(tables["media"]) + len(lost) == len(images)


HOSTILE = ["=1+1.jpg", "q\"uote,'s.jpg", "größe ✓.jpg", "a;b|c\t.jpg", "<img src=x>.jpg", "NA.jpg"]


def test_hostile_names_stay_what_they_are(write):
    cameras = ["=cam", 'c"a,m', "<b>", "cam|x", "größe", "NaN"]
    images = [image(name, camera) for name, camera in zip(HOSTILE, cameras, strict=True)]
    rows = [["deploymentID", "camera", "latitude", "longitude"]]
    rows += [[f"site {i}", camera, "1", "2"] for i, camera in enumerate(cameras)]
    table = "\n".join(",".join('"' + c.replace('"', '""') + '"' for c in row) for row in rows)
    tables, package, failures = write(images, table)
    assert failures == []
    assert sorted(row["filePath"] for row in tables["media"]) == sorted(HOSTILE)
    assert package["spatial"] == {"type": "Point", "coordinates": [2.0, 1.0]}


@pytest.mark.parametrize(
    ("places", "kind"),
    [(["1,2"], "Point"), (["1,2", "1,3"], "LineString"), (["1,2", "3,4"], "Polygon")],
)
def test_where_a_package_lies_is_geojson(write, places, kind):
    schema = pathlib.Path(frictionless.__file__).parent / "assets" / "profiles" / "geojson.json"
    rows = "".join(f"d{i},loc_{i},{place}\n" for i, place in enumerate(places))
    images = [image(f"{i}.jpg", f"loc_{i}") for i in range(len(places))]
    _, package, _ = write(images, f"deploymentID,locationID,latitude,longitude\n{rows}")
    assert package["spatial"]["type"] == kind
    jsonschema.Draft4Validator(json.loads(schema.read_text())).validate(package["spatial"])


def test_line_ends_in_names_are_left_out(write):
    tables, _, failures = write([image("a\nb.jpg"), image("c.jpg")])
    assert [row["mediaID"] for row in tables["media"]] == ["c.jpg"]
    assert [failure["reason"] for failure in failures] == ["bad_field"]


def test_the_same_id_of_two_images_is_no_key(write):
    images = [image("a.jpg", image_id="same"), image("b.jpg", image_id="same")]
    assert len(write(images)[0]["media"]) == 2


def test_images_find_their_deployment_by_time(write):
    table = (
        "deploymentID,cameraID,latitude,longitude,deploymentStart,deploymentEnd\n"
        "spring,loc_33,1,2,2013-04-01,2013-06-30\n"
        "autumn,loc_33,3,4,2013-09-01,2013-10-04T13:31:53-07:00\n"
        "elsewhere,other,5,6,2012-01-01,2012-12-31\n"
    )
    may = 1380893513 - 150 * 86400
    images = [image("a.jpg"), image("b.jpg", seconds=may), image("c.jpg", seconds=1380893514)]
    tables, package, failures = write(images, table)
    assert [(row["mediaID"], row["deploymentID"]) for row in tables["media"]] == [
        ("a.jpg", "autumn"),
        ("b.jpg", "spring"),
    ]
    assert [(f["file"], f["reason"], f["lost"]) for f in failures] == [
        ("c.jpg", "bad_date", "image")
    ]
    assert package["temporal"] == {"start": "2012-01-01", "end": "2013-10-04"}
    assert len(tables["deployments"]) == 3, "a deployment without images is a result, too"


def test_a_camera_of_the_table_without_images_and_dates_is_left_out_and_named(write):
    table = "deploymentID,latitude,longitude\nloc_33,1,2\nspare,3,4\n"
    tables, _, failures = write([image()], table)
    assert [row["deploymentID"] for row in tables["deployments"]] == ["loc_33"]
    assert [(f["camera"], f["reason"], f["lost"]) for f in failures] == [
        ("spare", "undated", "nothing")
    ]


def test_a_run_without_any_date_is_an_error(write):
    with pytest.raises(ValueError, match="no image with a date"):
        write([image(seconds=None)])


def test_an_image_outside_of_the_only_deployment_stays_and_is_named(write):
    table = (
        "deploymentID,latitude,longitude,deploymentStart,deploymentEnd\n"
        "loc_33,1,2,2013-04-01,2013-06-30\n"
    )
    tables, _, failures = write([image()], table)
    assert len(tables["media"]) == 1
    assert [(f["reason"], f["lost"]) for f in failures] == [("bad_date", "nothing")]


def test_a_clock_that_follows_daylight_saving(write):
    images = [image("a.jpg"), image("b.jpg", seconds=1380893513 + 60 * 86400)]
    tables, _, _ = write(images, timezone="America/Los_Angeles")
    offsets = [row["timestamp"][-6:] for row in tables["media"]]
    assert offsets == ["-07:00", "-08:00"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "time zone.*--timezone"),
        (
            {"timezone": "Z"},
            r"latitude and longitude.*--deployments.*deploymentID,latitude,longitude\n.*loc_33",
        ),
    ],
)
def test_what_images_do_not_tell_has_to_be_given(make_journal, tmp_path, options, message):
    outputs = Outputs(camtrap_dp=tmp_path / "package")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        write_results(
            make_journal([image()]),
            outputs,
            Options(camtrap=CamtrapOptions(**options)),
            progress=False,
        )
    assert not (tmp_path / "package").exists()


GOOD = {"deploymentID": "loc_33", "latitude": "1", "longitude": "2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latitude": ""}, "line 2: latitude must be a number with a decimal point from -90 to 90"),
        ({"latitude": "91"}, "latitude must be"),
        ({"latitude": "52,7"}, "latitude must be.*got '52,7'"),
        ({"longitude": "nan"}, "longitude must be"),
        ({"deploymentID": "elsewhere"}, "no deployment for 1 of 1 cameras: 'loc_33'.*locationID"),
        ({"deploymentID": "NA", "cameraID": "loc_33"}, "deploymentID is empty"),
        ({"deploymentStart": "01/10/2013"}, "deploymentStart is not a date such as"),
        ({"deploymentStart": "2014-01-01", "deploymentEnd": "2013-01-01"}, "before the start"),
        ({"cameraTilt": "1.5"}, "cameraTilt must be a whole number from -90 to 90"),
        ({"coordinateUncertainty": "0"}, "coordinateUncertainty must be"),
        ({"baitUse": "yes"}, "baitUse must be true or false"),
        ({"featureType": "puddle"}, "featureType must be one of"),
    ],
)
def test_mistakes_in_deployments_are_named(write, change, message):
    row = GOOD | change
    quoted = ",".join('"' + value + '"' for value in row.values())
    with pytest.raises(ValueError, match=message):
        write([image()], f"{','.join(row)}\n{quoted}\n")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("deploymentID|latitude|longitude\nloc_33;1;2\n", "latitude, longitude are missing"),
        ("deploymentID,latitude,longitude\nloc_33,1\n", "line 2: not as many values"),
        (
            "deploymentID,locationID,latitude,longitude\nd,loc_33,1,2\nd,loc_33,1,2\n",
            "'d' is empty and cannot be told",
        ),
        (
            "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n"
            + "d,loc_33,1,2,2013-01-01,2013-12-31\n" * 2,
            "line 3: deploymentID 'd' occurs twice",
        ),
    ],
)
def test_broken_tables_are_named(write, table, message):
    with pytest.raises(ValueError, match=message):
        write([image()], table)


def test_a_table_of_a_spreadsheet_is_read_with_all_it_knows(write):
    row = GOOD | {
        "locationName": "Białowieża MRI 01",
        "coordinateUncertainty": "100",
        "cameraHeight": "1.2",
        "cameraTilt": "-90",
        "timestampIssues": "false",
        "featureType": "culvert",
        "my own column": "x",
    }
    table = "\ufeff" + ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    (found,) = write([image()], table)[0]["deployments"]
    assert {name: found[name] for name in row if name in found} == {
        name: value for name, value in row.items() if name != "my own column"
    }


def test_what_is_written_is_read_again(write, small_run, header, tmp_path):
    write(small_run[1:])
    found = list(read_camtrap_dp(tmp_path / "package", header.label_map))
    for mine, theirs in zip(found, small_run[1:], strict=True):
        assert (mine.file, mine.seconds, mine.burst) == (theirs.file, theirs.seconds, theirs.burst)
        expected = sorted(
            (one for one in theirs.detections if one.score >= 0.2), key=lambda one: -one.score
        )
        assert [(d.class_id, d.score) for d in mine.detections] == [
            (d.class_id, d.score) for d in expected
        ]
        for box, other in zip(mine.detections, expected, strict=True):
            assert box.box == pytest.approx(other.box, abs=1.01e-4)


BREAKS = {
    "media": [("image/jpeg", "jpeg"), ("-07:00,", ","), ("loc_33,act", "loc_34,act")],
    "observations": [("blank", "empty"), ("loc_33/im-0002.jpg#1", "loc_33/im-0001.jpg#1")],
    "deployments": [("34.05", "94.05"), ("loc_33,", "NA,")],
}


@pytest.mark.parametrize(("table", "change"), [(t, c) for t in BREAKS for c in BREAKS[t]])
def test_the_rules_find_what_is_wrong(write, small_run, tmp_path, table, change):
    """The rules stand in this file: so they have to fail on broken tables."""
    write(small_run[1:])
    path = tmp_path / "package" / f"{table}.csv"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    assert errors(tmp_path / "package", table_schema)


needs_schemas = pytest.mark.skipif(
    not SCHEMAS, reason="CAMTRAP_DP_SCHEMAS names no folder with the published schemas"
)


@needs_schemas
@pytest.mark.parametrize("table", RULES)
def test_the_rules_are_those_of_the_published_schemas(table):
    mine, theirs = table_schema(table), published_schema(table)
    names = ("name", "type", "format", "constraints")
    fields = [{n: field[n] for n in names if n in field} for field in theirs["fields"]]
    assert mine["fields"] == fields
    for name in ("missingValues", "primaryKey", "foreignKeys"):
        assert mine.get(name) == theirs.get(name)


@needs_schemas
def test_the_package_keeps_to_the_published_profile(write, small_run):
    profile = json.loads(pathlib.Path(SCHEMAS, "camtrap-dp-profile.json").read_text())
    # What it refers to lies elsewhere: frictionless checks the one, a test above the other.
    general, own = profile["allOf"]
    assert "$ref" in general
    del own["properties"]["spatial"]["$ref"]
    profile["allOf"] = [own]
    _, package, _ = write(small_run[1:], taxa={"bobcat": "Lynx rufus"})
    validator = jsonschema.Draft4Validator(
        profile, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER
    )
    assert [error.message for error in validator.iter_errors(package)] == []
    assert list(validator.iter_errors(package | {"project": {}}))
