"""Taxa in place of species that are not certain, by hand."""

import csv
import json

import pytest

from context_rcnn import cli
from context_rcnn.results.options import CamtrapOptions, Options
from context_rcnn.results.records import Detection, Header, ImageResult
from context_rcnn.results.taxonomy import RollUp, Taxonomy
from context_rcnn.results.write import Outputs, write_results

NAMES = {1: "mule_deer", 2: "whitetail", 3: "moose", 4: "wolf", 5: "coyote", 6: "person"}
RANKS = """\
label,class,order,family,genus,species
mule_deer,Mammalia,Artiodactyla,Cervidae,Odocoileus,Odocoileus hemionus
whitetail,Mammalia,Artiodactyla,Cervidae,Odocoileus,virginianus
moose,Mammalia,Artiodactyla,Cervidae,Alces,Alces alces
wolf,Mammalia,Carnivora,Canidae,Canis,Canis lupus
coyote,Mammalia,Carnivora,Canidae,Canis,Canis latrans
bison,Mammalia,Artiodactyla,Bovidae,Bison,Bison bison
"""
BOX = (0.1, 0.1, 0.5, 0.5)
NEAR = (0.1, 0.1, 0.5, 0.52)  # IoU .16 / .168 = .95
APART = (0.1, 0.3, 0.5, 0.7)  # IoU .08 / .24 = .33


@pytest.fixture
def roll_up(tmp_path):
    """Names and scores of the detections of an image, best first."""

    def run(*found, table=RANKS, names=NAMES, score=0.5):
        path = tmp_path / "taxa.csv"
        path.write_text(table)
        rolling = RollUp(Taxonomy.read(path), names, score)
        ids = {name: i for i, name in names.items()}
        detections = [Detection(box, ids[name], s) for name, s, box in found]
        image, changed = rolling.rolled_up(ImageResult("a.jpg", detections=tuple(detections)))
        after = sorted(image.detections, key=lambda one: -one.score)
        was_taxon = sum(rolling.names[one.class_id] not in names.values() for one in after)
        assert changed >= was_taxon
        return [(rolling.names[one.class_id], pytest.approx(one.score)) for one in after]

    return run


def test_two_kinds_of_deer_are_a_deer_of_the_genus_they_share(roll_up):
    assert roll_up(("mule_deer", 0.3, BOX), ("whitetail", 0.25, NEAR)) == [("Odocoileus", 0.55)]


def test_the_lowest_taxon_that_is_certain_is_taken_and_no_higher_one(roll_up):
    deer = [("mule_deer", 0.2, BOX), ("whitetail", 0.2, NEAR), ("moose", 0.2, BOX)]
    assert roll_up(*deer) == [("Cervidae", 0.6)]
    assert roll_up(*deer, score=0.4) == [("Odocoileus", 0.4), ("moose", 0.2)]
    wolf = ("wolf", 0.25, NEAR)
    assert roll_up(wolf, *deer[:2]) == [("Mammalia", 0.65)]


def test_a_certain_class_stays_with_all_that_is_beside_it(roll_up):
    found = [("mule_deer", 0.5, BOX), ("whitetail", 0.4, NEAR)]
    assert roll_up(*found) == [("mule_deer", 0.5), ("whitetail", 0.4)]


def test_what_is_beside_a_certain_class_is_no_animal_of_its_own(roll_up):
    """Of one object, a wolf and a coyote would make .55 of a Canis."""
    found = [("mule_deer", 0.5, BOX), ("wolf", 0.3, NEAR), ("coyote", 0.25, NEAR)]
    assert roll_up(*found) == [("mule_deer", 0.5), ("wolf", 0.3), ("coyote", 0.25)]


def test_two_animals_of_one_class_are_two(roll_up):
    twice = [("mule_deer", 0.3, BOX), ("mule_deer", 0.3, BOX), ("whitetail", 0.25, NEAR)]
    assert roll_up(*twice) == [("Odocoileus", 0.55), ("mule_deer", 0.3)]


def test_what_is_never_certain_stays(roll_up):
    found = [("mule_deer", 0.2, BOX), ("wolf", 0.1, NEAR)]
    assert roll_up(*found) == [("mule_deer", 0.2), ("wolf", 0.1)]


def test_of_two_taxa_that_are_certain_the_one_with_more_wins_and_keeps_its_own_box(roll_up):
    found = [("wolf", 0.28, BOX), ("mule_deer", 0.2, NEAR), ("whitetail", 0.19, BOX)]
    assert roll_up(*found, score=0.3) == [("Odocoileus", 0.39), ("wolf", 0.28)]
    dogs = [("wolf", 0.18, BOX), ("coyote", 0.17, BOX)]
    assert roll_up(*found[1:], *dogs, score=0.3) == [
        ("Odocoileus", 0.39),
        ("wolf", 0.18),
        ("coyote", 0.17),
    ], "one object has one taxon, although .35 of a Canis would be certain, too"


def test_boxes_apart_are_two_animals(roll_up):
    found = [("mule_deer", 0.3, BOX), ("whitetail", 0.25, APART)]
    assert roll_up(*found) == [("mule_deer", 0.3), ("whitetail", 0.25)]


def test_suspects_and_classes_outside_of_the_table_take_no_part(roll_up):
    found = [("mule_deer", 0.3, BOX), ("whitetail", -0.3, BOX), ("person", 0.3, BOX)]
    assert roll_up(*found) == [("mule_deer", 0.3), ("person", 0.3), ("whitetail", -0.3)]
    suspects = [("mule_deer", -0.3, BOX), ("whitetail", -0.3, BOX)]
    assert [score for _, score in roll_up(*suspects)] == [-0.3, -0.3]


def test_a_sum_is_no_more_than_one(roll_up):
    found = [("mule_deer", 0.7, BOX), ("whitetail", 0.69, BOX)]
    assert roll_up(*found, score=0.8) == [("Odocoileus", 1.0)]


def test_a_tree_of_parents_may_have_groups_of_ones_own_and_classes_within(roll_up):
    table = "class,parent\neagle,bird\nowl,bird\nbird,animal\nfox,animal\nanimal,\n"
    names = {1: "eagle", 2: "owl", 3: "bird", 4: "fox"}
    found = [("eagle", 0.2, BOX), ("owl", 0.2, BOX), ("bird", 0.15, BOX)]
    assert roll_up(*found, table=table, names=names) == [("bird", 0.55)]
    found = [("fox", 0.3, BOX), *found[:2]]
    assert roll_up(*found, table=table, names=names) == [("animal", 0.7)]


def test_a_class_that_is_a_taxon_itself_lends_it_its_name(roll_up):
    table = RANKS + "deer,Mammalia,Artiodactyla,cervidae,,\n"
    found = [("deer", 0.3, BOX), ("moose", 0.3, BOX)]
    assert roll_up(*found, table=table, names=NAMES | {7: "deer"}) == [("deer", 0.6)]


def test_sexes_of_a_species_are_the_species(roll_up):
    table = "label,species\nlion,Panthera leo\nlioness,Panthera leo\n"
    found = [("lion", 0.4, BOX), ("lioness", 0.3, BOX)]
    assert roll_up(*found, table=table, names={1: "lion", 2: "lioness"}) == [("Panthera leo", 0.7)]


def test_a_taxon_with_the_name_of_another_class_is_told_from_it(roll_up):
    names = {1: "wolf", 2: "coyote", 9: "Canis"}
    found = [("wolf", 0.3, BOX), ("coyote", 0.3, BOX)]
    assert roll_up(*found, names=names) == [("Canis (genus)", 0.6)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("class,species,genus,family,class\na,b c,b,d,e\n", "'class' is there twice; name"),
        ("label,taxon\na,b\n", "either 'parent' or some of kingdom"),
        ("species,genus\na,b\n", "needs a column 'label'"),
        ("label,parent,family\na,b,c\n", "either 'parent' or some of"),
        ("label,family\n,b\n", "line 2: 'label' must not be empty"),
        ("label,family\na,b\na,b\n", "line 3: 'label' .* once"),
        ("label,family\na,\n", "line 2: 'a' has none of family"),
        ("label,species\na,lupus\n", "line 2: species 'lupus' needs its genus"),
        ("label,genus,species\na,Canis,Felis catus\n", "'Felis catus' is not of genus 'Canis'"),
        (
            "label,family,genus\na,Canidae,Canis\nb,Felidae,canis\n",
            "line 3: genus 'Canis' belongs to family 'Felidae' here, and to family 'Canidae'",
        ),
        ("label,parent\na,b\nb,c\nc,a\n", "line 4: 'c' is above itself"),
        ("label,parent\na,a\n", "line 2: 'a' is above itself"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_with_its_line(tmp_path, table, message):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        Taxonomy.read(tmp_path / "t.csv")


def test_a_table_of_other_classes_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("label,family\nlynx,Felidae\n")
    with pytest.raises(ValueError, match="has no class of this model; its classes are .'coyote'"):
        RollUp(Taxonomy.read(tmp_path / "t.csv"), NAMES, 0.5)


@pytest.fixture
def journal(make_journal):
    shared = {"camera": "loc", "width": 100, "height": 100, "seconds": 1380893513}
    found = (Detection(BOX, 1, 0.3), Detection(NEAR, 2, 0.25), Detection(APART, 4, 0.9))
    image = ImageResult("loc/a.jpg", detections=found, **shared)
    return make_journal([image], header=Header("m", "1", "", NAMES, "2026-05-26T19:11:27Z"))


def test_every_format_has_the_taxon_as_a_class(journal, tmp_path):
    (tmp_path / "taxa.csv").write_text(RANKS)
    (tmp_path / "dep.csv").write_text("deploymentID,latitude,longitude\nloc,47.5,11\n")
    out = Outputs(
        megadetector=tmp_path / "md.json",
        coco=tmp_path / "coco.json",
        table=tmp_path / "t.csv",
        camtrap_dp=tmp_path / "dp",
        speciesnet=tmp_path / "sn.json",
        events=tmp_path / "events.csv",
    )
    options = Options(
        taxonomy=Taxonomy.read(tmp_path / "taxa.csv"),
        camtrap=CamtrapOptions(tmp_path / "dep.csv", "Z"),
    )
    summary = write_results(journal, out, options, progress=False)
    assert summary.counts["rolled_up"] == 1 and summary.unplaced == ("person",)
    assert summary.detections == {"wolf": 1, "Odocoileus": 1}

    with (tmp_path / "t.csv").open(encoding="utf-8-sig") as file:
        rows = [(row["class"], row["kind"], row["score"]) for row in csv.DictReader(file)]
    assert rows == [("wolf", "animal", "0.9"), ("Odocoileus", "animal", "0.55")]

    md = json.loads((tmp_path / "md.json").read_text())
    (found,) = (d for d in md["images"][0]["detections"] if d["conf"] == 0.55)
    (category, score) = found["classifications"][0]
    assert (md["classification_categories"][category], score) == ("Odocoileus", 0.55)
    described = md["classification_category_descriptions"][category]
    assert described == ";mammalia;artiodactyla;cervidae;odocoileus;;Odocoileus"
    assert found["bbox"] == [0.1, 0.1, 0.4, 0.4], "the box of the better of the two"

    index = json.loads((tmp_path / "coco.images.json").read_text())
    categories = {c["id"]: c["name"] for c in index["categories"]}
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert [categories[d["category_id"]] for d in coco] == ["wolf", "Odocoileus"]
    assert NAMES.items() <= categories.items(), "classes of the model keep their ids"

    with (tmp_path / "dp/observations.csv").open() as file:
        rows = {
            row["scientificName"]: row["classificationProbability"] for row in csv.DictReader(file)
        }
    assert rows == {"Canis lupus": "0.9", "Odocoileus": "0.55"}
    taxa = json.loads((tmp_path / "dp/datapackage.json").read_text())["taxonomic"]
    (genus,) = (taxon for taxon in taxa if taxon["scientificName"] == "Odocoileus")
    assert genus["taxonRank"] == "genus" and genus["family"] == "Cervidae"

    (seen,) = json.loads((tmp_path / "sn.json").read_text())["predictions"]
    assert any("odocoileus;;" in str(d) for d in seen["detections"])
    with (tmp_path / "events.csv").open(encoding="utf-8-sig") as file:
        assert sorted(row["class"] for row in csv.DictReader(file)) == ["Odocoileus", "wolf"]


def test_names_of_ones_own_go_before_those_of_the_table(journal, tmp_path):
    (tmp_path / "taxa.csv").write_text(
        "label,parent,taxon\nmule_deer,deer,Odocoileus hemionus\nwhitetail,deer,\ndeer,,Cervidae\n"
        "wolf,,Canis lupus\n"
    )
    (tmp_path / "dep.csv").write_text("deploymentID,latitude,longitude\nloc,47.5,11\n")
    options = Options(
        taxonomy=Taxonomy.read(tmp_path / "taxa.csv"),
        taxa={"wolf": "Canis lupus signatus"},
        camtrap=CamtrapOptions(tmp_path / "dep.csv", "Z"),
    )
    write_results(journal, Outputs(camtrap_dp=tmp_path / "dp"), options, progress=False)
    with (tmp_path / "dp/observations.csv").open() as file:
        names = sorted(row["scientificName"] for row in csv.DictReader(file))
    assert names == ["Canis lupus signatus", "Cervidae"]


def test_the_verb_says_what_it_did(journal, tmp_path, capsys):
    (tmp_path / "taxa.csv").write_text(RANKS)
    flags = [f"--taxonomy={tmp_path}/taxa.csv", f"--csv={tmp_path}/t.csv"]
    assert cli.main(["results", str(journal), *flags]) == 0
    out = capsys.readouterr().out
    assert "1 have the taxon of their likely classes" in out
    assert "not in the table of taxa, so left as they are: person" in out
    assert cli.main(["results", str(journal), *flags, "--taxonomy_score=.2"]) == 0
    assert "Odocoileus" not in capsys.readouterr().out, "both classes are certain enough"
