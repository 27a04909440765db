"""Clocks that were wrong, in every layout whose images have dates."""

import calendar
import json

import pytest

from beam_pipelines import build_memory_bank
from context_rcnn import cli
from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.data.readers import LAYOUTS

SHOWN = "1970-01-01 06:00:00"
"""What the clock of north showed on 2 May 2024 at 9 o'clock."""
TRUE = calendar.timegm((2024, 5, 2, 9, 0, 0))
SHIFT = "+19845d3h"
RIGHT = "2024-05-01 07:00:00"


def dated_by_exif(folder, jpeg):
    for camera, date in (("north", SHOWN), ("south", RIGHT)):
        (folder / camera).mkdir(parents=True)
        (folder / camera / "a.jpg").write_bytes(jpeg(date=date))


def coco(folder, jpeg):
    images = [
        {"id": camera, "file_name": f"{camera}/a.jpg", "location": camera, "datetime": date}
        for camera, date in (("north", SHOWN), ("south", RIGHT))
    ]
    return json.dumps({"images": images})


def timelapse(folder, jpeg):
    rows = f"a.jpg,north,{SHOWN},fox\na.jpg,south,{RIGHT},fox\n"
    return f"File,RelativePath,DateTime,Species\n{rows}"


def label_studio(folder, jpeg):
    dated_by_exif(folder, jpeg)
    tasks = [{"data": {"image": f"{c}/a.jpg"}, "annotations": []} for c in ("north", "south")]
    return json.dumps(tasks)


def cvat(folder, jpeg):
    dated_by_exif(folder, jpeg)
    images = "".join(f'<image name="{camera}/a.jpg"></image>' for camera in ("north", "south"))
    return f"<annotations>{images}</annotations>"


def photographs(folder, jpeg):
    dated_by_exif(folder, jpeg)


def species(folder, jpeg):
    dated_by_exif(folder / "fox", jpeg)


def citycam(folder, jpeg):
    for camera, date in (("north", SHOWN), ("south", RIGHT)):
        clip = folder / camera / f"{camera}-20240501-07"
        clip.mkdir(parents=True)
        (clip / "000001.jpg").write_bytes(jpeg())
        (clip / "000001.xml").write_text(f"<annotation><time>{date}</time></annotation>")


ARCHIVES = {
    "input_json": coco,
    "input_folder": photographs,
    "timelapse_csv": timelapse,
    "label_studio_json": label_studio,
    "cvat_xml": cvat,
    "species_folder": species,
    "citycam_root": citycam,
}


@pytest.fixture
def options(tmp_path, jpeg):
    def make(flag, **changes):
        folder = tmp_path / "photos"
        folder.mkdir()
        text = ARCHIVES[flag](folder, jpeg)
        if text is None:
            return {flag: str(folder), "val_fraction": 0.0, **changes}
        (tmp_path / "labels").write_text(text)
        given = {flag: str(tmp_path / "labels"), "image_root": str(folder)}
        return {**given, "val_fraction": 0.0, **changes}

    return make


def test_every_layout_with_dates_is_here():
    assert set(ARCHIVES) == {layout.flag for layout in LAYOUTS if layout.has_clocks}


@pytest.mark.parametrize("flag", ARCHIVES)
def test_a_clock_that_began_in_1970_is_corrected_and_others_are_left(flag, options):
    given = options(flag)
    lost = [f for f in read_archive(ArchiveOptions(**given)).failures if f.lost == "date"]
    assert [f.camera for f in lost] == ["north"], "it is junk without a correction"
    archive = read_archive(ArchiveOptions(**given, clock_shift=(f"north={SHIFT}",)))
    dates = {record.camera: record.seconds for record in archive.records["train"]}
    assert dates == {"north": TRUE, "south": calendar.timegm((2024, 5, 1, 7, 0, 0))}
    assert not [failure for failure in archive.failures if failure.lost == "date"]


def test_a_table_corrects_too_and_a_camera_that_is_not_there_is_refused(options, tmp_path):
    table = tmp_path / "clocks.csv"
    table.write_text(f"camera,shown,actual\nnorth,{SHOWN},2024-05-02 09:00:00\n")
    given = options("timelapse_csv")
    archive = read_archive(ArchiveOptions(**given, clock_csv=str(table)))
    assert TRUE in {record.seconds for record in archive.records["train"]}
    with pytest.raises(ValueError, match=r"'nort' is to be corrected.*there are 'north', 'south'"):
        read_archive(ArchiveOptions(**given, clock_shift=("nort=+1h",)))


def test_what_has_no_dates_of_its_own_refuses_corrections(tmp_path, capsys):
    with pytest.raises(ValueError, match="ImageNet VID .* has no dates, so no clock"):
        ArchiveOptions(imagenet_vid_root=str(tmp_path), clock_shift=("north=+1h",))
    shift = ["--clock_shift=north=+1h"]
    assert cli.main(["validate", f"--examples={tmp_path}/*", *shift]) == 2
    bank = [f"--examples={tmp_path}/*", "--extractor=e", f"--output_dir={tmp_path / 'bank'}"]
    assert build_memory_bank.main([*bank, *shift]) == 2
    stream = ["watch", "--two_speed", "0", "--model", "m", *shift]
    assert cli.main(stream) == 2
    said = capsys.readouterr().err
    assert said.count("give it to `context-rcnn examples`, which dates examples") == 2
    assert "--clock_shift cannot be used here: frames of a stream have no dates" in said
    assert not (tmp_path / "bank").exists()
