"""Taxa in place of species that are not certain.

A detector that hesitates between two kinds of deer says of one box, in two detections, "mule deer:
.3" and "white-tailed deer: .3". Both are weak, but that it is a deer is likely. With a table of
taxa such detections become one, of the lowest taxon whose classes together have enough score.

A journal has the score of each class of a box as a detection of its own, as far as the model gave
them, and class-specific boxes of one object differ a little. Detections of different classes that
overlap are therefore taken for one object.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from context_rcnn.data.tables import Table
from context_rcnn.evaluation.repeat_detections import overlap
from context_rcnn.results.records import Detection, ImageResult

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species", "subspecies")
SAME_OBJECT = 0.7
"""IoU from which boxes of different classes are of one object."""

_OF_SPECIESNET = ("class", "order", "family", "genus")
_LABELS = ("label", "class")

Node = tuple[str, str]
"""Rank and name of a taxon; the rank is "" where the table does not say it."""


@dataclasses.dataclass(frozen=True)
class Taxonomy:
    """A tree of taxa.

    Attributes:
        source: the table, for messages.
        parents: the taxon above each, None for those on top.
        places: taxon of each class of a model, by its name.
        texts: scientific name or SpeciesNet's seven parts, by taxon, where they are known.
    """

    source: str
    parents: Mapping[Node, Node | None]
    places: Mapping[str, Node]
    texts: Mapping[Node, str]

    @classmethod
    def read(cls, path: str | Path) -> "Taxonomy":
        """Of a CSV table with a line per class, and either its ranks or its parent.

        The class of the model is in the column `label`, or in `class` if there is none. The ranks
        are columns with the names of `RANKS`; with `parent` in their place a line is a taxon or a
        class, and `taxon` may give its scientific name.

        Raises:
            ValueError: With file and line, for a column or value that is missing or contradicts
                another line.
        """
        table = Table(path)
        names = table.columns
        if twice := sorted({name for name in names if names.count(name) > 1}):
            advice = "; name the column with the classes of the model 'label'"
            raise ValueError(f"{path}: the column {twice[0]!r} is there twice{advice}")
        label = next((name for name in _LABELS if name in names), None)
        ranks = [rank for rank in RANKS if rank in names and rank != label]
        if label is None or ("parent" in names) == bool(ranks):
            raise ValueError(
                f"{path}: needs a column 'label' (or 'class') with the classes of the model, and "
                f"either 'parent' or some of {', '.join(RANKS)}, found {names}"
            )
        return _of_ranks(table, label, ranks) if ranks else _of_parents(table, label)

    def line(self, node: Node) -> list[Node]:
        """A taxon and all above it, from below."""
        found = [node]
        while (above := self.parents.get(found[-1])) is not None:
            found.append(above)
        return found


class RollUp:
    """Gives detections that are not certain the taxon that their classes share.

    Each taxon that has two classes of the model at least becomes a class, with a new id; one that
    is itself a class of the model, and of one alone, keeps the id of this class.

    Args:
        taxonomy: tree of taxa.
        label_map: class names of the model by id.
        min_score: score from which a class, or the sum of the classes of a taxon, is certain.

    Attributes:
        names: class names by id, of the model and of taxa.
        taxa: scientific names or SpeciesNet's seven parts by class name.

    Raises:
        ValueError: If the table has no class of the model.
    """

    def __init__(self, taxonomy: Taxonomy, label_map: Mapping[int, str], min_score: float):
        self._min_score = min_score
        lines = {
            i: taxonomy.line(taxonomy.places[name])
            for i, name in sorted(label_map.items())
            if name in taxonomy.places
        }
        if not lines:
            raise ValueError(
                f"{taxonomy.source}: has no class of this model; its classes are "
                f"{sorted(label_map.values())!s:.500}"
            )
        below: dict[Node, list[int]] = defaultdict(list)
        for class_id, line in lines.items():
            for node in line:
                below[node].append(class_id)
        ids = self._number(taxonomy, label_map, lines, below)
        self._lines = {i: [ids[node] for node in line if node in ids] for i, line in lines.items()}
        self._above: dict[int, set[int]] = {}
        for taxa in self._lines.values():
            self._above |= {taxon: set(taxa[k + 1 :]) for k, taxon in enumerate(taxa)}
        places = {name: taxonomy.places[name] for i, name in label_map.items() if i in lines}
        places |= {self.names[i]: node for node, i in ids.items() if i not in label_map}
        self.taxa = {
            name: taxonomy.texts[node] for name, node in places.items() if node in taxonomy.texts
        }
        self.unplaced = sorted(set(label_map.values()) - set(taxonomy.places))

    def _number(
        self,
        taxonomy: Taxonomy,
        label_map: Mapping[int, str],
        lines: Mapping[int, Sequence[Node]],
        below: Mapping[Node, Sequence[int]],
    ) -> dict[Node, int]:
        """Ids of the taxa that detections can get; fills in `names`."""
        own = defaultdict(list)
        for class_id, line in lines.items():
            own[line[0]].append(class_id)
        self.names = dict(label_map)
        ids = {}
        for node in sorted(node for node, classes in below.items() if len(classes) > 1):
            if len(own[node]) == 1:
                (ids[node],) = own[node]
                continue
            ids[node] = max(self.names) + 1
            rank, name = node
            taken = set(self.names.values())
            while name in taken:
                name = f"{name} ({rank or 'taxon'})"
            self.names[ids[node]] = name
        return ids

    def rolled_up(self, image: ImageResult) -> tuple[ImageResult, int]:
        """The image, and how many of its detections have a taxon in place of a class.

        Suspect detections, and those of classes that the table does not have, stay as they are.
        """
        rest = sorted(image.detections, key=lambda found: -found.score)
        kept: list[Detection] = []
        changed = 0
        while rest:
            group = self._object(rest)
            of_group = set(map(id, group))
            rest = [found for found in rest if id(found) not in of_group]
            taxon = self._lowest(group)
            if taxon is None:
                kept += group
                continue
            class_id, score = taxon
            below = [class_id in self._lines.get(found.class_id, ()) for found in group]
            kept += [found for found, is_below in zip(group, below, strict=True) if not is_below]
            kept.append(Detection(group[below.index(True)].box, class_id, score))
            changed += 1
        return dataclasses.replace(image, detections=tuple(kept)), changed

    def _object(self, found: Sequence[Detection]) -> list[Detection]:
        """The best detection, and those of other classes that are of the same object."""
        best, *others = found
        others = [one for one in others if one.score >= 0 and one.class_id != best.class_id]
        if best.score < 0 or not others:
            return [best]
        ious = overlap(np.array(best.box), np.array([one.box for one in others]))
        return [best, *(one for one, iou in zip(others, ious, strict=True) if iou >= SAME_OBJECT)]

    def _lowest(self, group: Sequence[Detection]) -> tuple[int, float] | None:
        """The lowest taxon whose classes together are certain, and their score.

        Of several, none above another, the one with most. None if the best class is certain by
        itself, suspect, or not in the table.
        """
        best = group[0]
        if not 0 <= best.score < self._min_score or best.class_id not in self._lines:
            return None
        scores: dict[int, float] = {}
        for found in group:
            if found.class_id in self._lines:
                scores.setdefault(found.class_id, found.score)  # the best one of a class is first
        parts = defaultdict(list)
        for class_id, score in scores.items():
            for taxon in self._lines[class_id]:
                parts[taxon].append(score)
        sums = {taxon: min(1.0, math.fsum(some)) for taxon, some in parts.items()}
        certain = {taxon for taxon, score in sums.items() if score >= self._min_score}
        lowest = certain - {above for taxon in certain for above in self._above[taxon]}
        most = max(lowest, key=lambda taxon: (sums[taxon], -taxon), default=None)
        return None if most is None else (most, sums[most])


def _of_ranks(table: Table, label: str, ranks: Sequence[str]) -> Taxonomy:
    parents: dict[Node, Node | None] = {}
    places: dict[str, Node] = {}
    texts: dict[Node, str] = {}
    for where, row in table.rows():
        name = _name(where, row, label, places)
        row = row | _species_in_full(where, row)
        line = [(rank, row[rank].capitalize()) for rank in _from_above(ranks) if row[rank]]
        if not line:
            raise ValueError(f"{where}: {name!r} has none of {', '.join(ranks)}")
        for above, node in zip([None, *line], line, strict=False):
            if parents.setdefault(node, above) != above:
                raise ValueError(
                    f"{where}: {node[0]} {node[1]!r} belongs to {_shown(above)} here, and to "
                    f"{_shown(parents[node])} before"
                )
            texts[node] = _text(dict(line[: line.index(node) + 1]))
        places[name] = line[-1]
    return Taxonomy(str(table.path), parents, places, texts)


def _of_parents(table: Table, label: str) -> Taxonomy:
    parents: dict[Node, Node | None] = {}
    places: dict[str, Node] = {}
    texts: dict[Node, str] = {}
    for where, row in table.rows():
        name = _name(where, row, label, places)
        node = places[name] = ("", name)
        parents[node] = ("", row["parent"]) if row["parent"] else None
        if row.get("taxon"):
            texts[node] = row["taxon"]
        above = parents[node]
        while above is not None:
            if above == node:
                raise ValueError(f"{where}: {name!r} is above itself")
            above = parents.get(above)
    return Taxonomy(str(table.path), parents, places, texts)


def _from_above(ranks: Sequence[str]) -> list[str]:
    """Ranks in the order of `RANKS`, in whatever order a table has them."""
    return sorted(ranks, key=RANKS.index)


def _name(where: str, row: Mapping[str, str], label: str, known: Mapping[str, Node]) -> str:
    name = row[label]
    if not name or name in known:
        raise ValueError(f"{where}: {label!r} must not be empty, and a class may occur once")
    return name


def _species_in_full(where: str, row: Mapping[str, str]) -> dict[str, str]:
    """Genus and species of a row, each as far as it follows from the other."""
    genus, species = row.get("genus", ""), " ".join(row.get("species", "").split())
    if not species:
        return {}
    first, _, epithet = species.partition(" ")
    if not epithet:
        if not genus:
            raise ValueError(f"{where}: species {species!r} needs its genus before it")
        return {"species": f"{genus} {species}"}
    if genus and genus.lower() != first.lower():
        raise ValueError(f"{where}: species {species!r} is not of genus {genus!r}")
    return {"species": species}


def _text(line: Mapping[str, str]) -> str:
    """SpeciesNet's seven parts of a taxon, or its name where they cannot say it."""
    lowest = list(line)[-1]
    if lowest not in (*_OF_SPECIESNET, "species"):
        return line[lowest]
    genus, _, epithet = line.get("species", "").partition(" ")
    parts = [line.get(rank, "") for rank in _OF_SPECIESNET[:-1]]
    return ";".join(["", *parts, line.get("genus", genus), epithet, ""])


def _shown(node: Node | None) -> str:
    return f"{node[0]} {node[1]!r}" if node else "nothing"
