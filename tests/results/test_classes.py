"""What classes are to other formats."""

import pytest

from context_rcnn.results.classes import Classes, Taxon, kind_of, read_taxa

BOBCAT = "3184697f;Mammalia;carnivora;felidae;lynx;rufus;bobcat"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bobcat", "animal"),
        ("Person", "human"),
        ("human", "human"),
        ("truck", "vehicle"),
        ("middle_bus", "vehicle"),
        ("990ae9dd;mammalia;primates;hominidae;homo;sapiens;human", "human"),
        ("carnivore", "animal"),
    ],
)
def test_names_say_what_a_class_is(name, kind):
    assert kind_of(name) == kind


def test_the_owner_knows_better_than_the_name():
    classes = Classes({1: "ranger", 2: "bus"}, kinds={"ranger": "human", "bus": "animal"})
    assert classes.kinds == {1: "human", 2: "animal"}


def test_seven_parts_are_a_taxon():
    taxon = Taxon.parse(BOBCAT, "bobcat")
    assert taxon.scientific_name == "Lynx rufus"
    assert taxon.description == "3184697f;mammalia;carnivora;felidae;lynx;rufus;bobcat"
    assert taxon.camtrap() == {
        "scientificName": "Lynx rufus",
        "taxonRank": "species",
        "class": "Mammalia",
        "order": "Carnivora",
        "family": "Felidae",
        "genus": "Lynx",
        "vernacularNames": {"eng": "bobcat"},
    }


def test_a_family_is_named_by_its_rank():
    taxon = Taxon.parse("f1;mammalia;carnivora;felidae;;;cat family", "cats")
    assert taxon.scientific_name == "Felidae"
    assert taxon.camtrap()["taxonRank"] == "family"


def test_a_scientific_name_is_enough():
    taxon = Taxon.parse(" Lynx  rufus ", "bobcat")
    assert taxon.camtrap() == {"scientificName": "Lynx rufus", "vernacularNames": {"eng": "bobcat"}}


def test_a_label_of_seven_parts_needs_no_table():
    classes = Classes({1: BOBCAT, 2: "deer"})
    assert classes.name(1) == "bobcat"
    assert classes.seven_parts(1) == BOBCAT.lower()
    assert classes.seven_parts(2) == ";;;;;;deer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": {"wolf": "animal"}}, "not in the label map.*wolf"),
        ({"kinds": {"deer": "mineral"}}, "must be one of"),
        ({"taxa": {"deer": "a;b"}}, "seven parts"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Classes({1: "deer"}, **options)


def test_taxa_are_read_from_a_table(tmp_path):
    path = tmp_path / "taxa.csv"
    path.write_text(f"class,taxon\nbobcat,{BOBCAT}\ndeer,Odocoileus\n")
    assert read_taxa(path) == {"bobcat": BOBCAT, "deer": "Odocoileus"}
    path.write_text("class,taxon\nbobcat,\n")
    with pytest.raises(ValueError, match="line 2"):
        read_taxa(path)
    path.write_text("name,taxon\n")
    with pytest.raises(ValueError, match="needs the columns"):
        read_taxa(path)
