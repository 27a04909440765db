"""What a class is to other people's formats: an animal, a human or a vehicle, and which taxon."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from context_rcnn.data import fields
from context_rcnn.data.tables import Table

Kind = Literal["animal", "human", "vehicle"]
KINDS: tuple[Kind, ...] = get_args(Kind)

HUMANS = frozenset({"human", "person", "people", "pedestrian"})
VEHICLES = frozenset(
    {"vehicle", "car", "truck", "bus", "van", "taxi", "atv", "motorcycle", "motorbike", "bicycle"}
    | {"black_sedan", "other_cars", "little_truck", "middle_truck", "big_truck"}  # CityCam's
    | {"middle_bus", "big_bus"}
)
_RANKS = ("class", "order", "family", "genus")


@dataclasses.dataclass(frozen=True)
class Taxon:
    """A class in the tree of life.

    Attributes:
        identifier: id in SpeciesNet, "" if unknown.
        ranks: class, order, family, genus and species epithet in lower case, "" where unknown.
        common_name: common name.
        scientific_name: scientific name that follows from `ranks`, or that was given instead.
    """

    identifier: str
    ranks: tuple[str, str, str, str, str]
    common_name: str
    scientific_name: str

    @classmethod
    def parse(cls, text: str, label: str) -> "Taxon":
        """Of "id;class;order;family;genus;species;common name" or of a scientific name.

        Raises:
            ValueError: If the text has semicolons, but not six.
        """
        if ";" not in text:
            return cls("", ("",) * 5, label, " ".join(text.split()))
        parts = [part.strip() for part in text.split(";")]
        if len(parts) != 7:
            raise ValueError(
                f"taxon of {label!r} must be a scientific name or have the seven parts "
                f"id;class;order;family;genus;species;common name, got {text!r:.200}"
            )
        kind, order, family, genus, species = (part.lower() for part in parts[1:6])
        known = [rank for rank in (kind, order, family, genus) if rank]
        name = known[-1].capitalize() if known else ""
        if genus and species:
            name = f"{genus.capitalize()} {species}"
        return cls(parts[0], (kind, order, family, genus, species), parts[6] or label, name)

    @property
    def description(self) -> str:
        """The seven parts, as SpeciesNet and MegaDetector's descriptions have them."""
        return ";".join((self.identifier, *self.ranks, self.common_name.replace(";", ",")))

    def camtrap(self) -> dict[str, object]:
        """As an item of Camtrap DP's `taxonomic`."""
        item: dict[str, object] = {"scientificName": self.scientific_name}
        if any(self.ranks):
            known = [rank for rank, name in zip(_RANKS, self.ranks, strict=False) if name]
            species = bool(self.ranks[3] and self.ranks[4])
            item["taxonRank"] = "species" if species else known[-1]
            for rank, name in zip(_RANKS, self.ranks, strict=False):
                if name:
                    item[rank] = name.capitalize()
        item["vernacularNames"] = {"eng": self.common_name}
        return item


class Classes:
    """The classes of a label map.

    Args:
        label_map: class names by id.
        kinds: by class name, where the name does not say it: names such as "person" and "truck" are
            known, all others are animals.
        taxa: by class name, a scientific name or SpeciesNet's seven parts. A class name that has
            seven parts itself needs none.

    Raises:
        ValueError: For kinds and taxa of classes that are not there, and malformed ones.
    """

    def __init__(
        self,
        label_map: Mapping[int, str],
        kinds: Mapping[str, str] | None = None,
        taxa: Mapping[str, str] | None = None,
    ):
        kinds, taxa = kinds or {}, taxa or {}
        unknown = sorted((set(kinds) | set(taxa)) - set(label_map.values()))
        if unknown:
            raise ValueError(
                f"not in the label map of this model: {unknown!s:.200}; "
                f"its classes are {sorted(label_map.values())!s:.500}"
            )
        stated = {name: _kind(kind, name) for name, kind in kinds.items()}
        self.names = dict(sorted(label_map.items()))
        self.kinds = {i: stated.get(name) or kind_of(name) for i, name in self.names.items()}
        self.taxa = {
            i: Taxon.parse(taxa.get(name, name), name)
            for i, name in self.names.items()
            if name in taxa or name.count(";") == 6
        }

    def name(self, class_id: int) -> str:
        """What people call a class."""
        taxon = self.taxa.get(class_id)
        has_parts = self.names[class_id].count(";") == 6
        return taxon.common_name if taxon and has_parts else self.names[class_id]

    def is_generic(self, class_id: int) -> bool:
        """Whether the name says no more than the kind."""
        generic = HUMANS | {"animal", "vehicle"}
        return self.names[class_id].strip().lower() in generic

    def seven_parts(self, class_id: int) -> str:
        """SpeciesNet's name of a class, without an identifier where none was given."""
        taxon = self.taxa.get(class_id)
        return taxon.description if taxon else f";;;;;;{self.names[class_id].replace(';', ',')}"


def _kind(text: str, name: str) -> Kind:
    for kind in KINDS:
        if text == kind:
            return kind
    raise ValueError(f"kind of {name!r} must be one of {KINDS}, got {text!r}")


def kind_of(name: str) -> Kind:
    """What a class is, judged by its name."""
    plain = name.rpartition(";")[2].strip().lower()
    if plain in HUMANS:
        return "human"
    return "vehicle" if plain in VEHICLES else "animal"


def read_taxa(path: str | Path) -> dict[str, str]:
    """Taxa by class name, from a CSV file with the columns `class` and `taxon`.

    Raises:
        ValueError: With file and line, if a column or a value is missing or a class occurs twice.
    """
    taxa: dict[str, str] = {}
    table = Table(path)
    if not {"class", "taxon"} <= set(table.columns):
        raise ValueError(f"{path}: needs the columns 'class' and 'taxon', found {table.columns}")
    for where, row in table.rows():
        name, taxon = fields.text(row["class"]), fields.text(row["taxon"])
        if name is None or taxon is None or name in taxa:
            raise ValueError(
                f"{where}: 'class' and 'taxon' must not be empty, and a class may occur once"
            )
        taxa[name] = taxon
    return taxa
