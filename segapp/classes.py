"""The class table: the ids that files hold, the contiguous indexes that a network sees, names and colours."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from segapp.errors import InputError

IGNORED_INDEX = 255
"""The network-side index of pixels that carry no loss and no score."""

# Paul Tol's "muted" and "bright" qualitative schemes: distinguishable with colour-vision deficiencies.
_DEFAULT_COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#332288", "#ddcc77",
    "#117733", "#88ccee", "#882255", "#44aa99", "#999933", "#cc6677", "#aa4499", "#ddaa33", "#004488",
)  # fmt: skip


class SegClass(BaseModel):
    """One class: `id` as it stands in label files, `name`, and `color` as "#rrggbb"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=0, le=65535)
    name: str = Field(min_length=1)
    color: str | None = None

    @field_validator("color")
    @classmethod
    def _hexadecimal(cls, color: str | None) -> str | None:
        if color is None:
            return None
        try:
            return to_hex(color)
        except ValueError:
            raise ValueError(f"'{color}' is no colour; write '#rrggbb' or a CSS name") from None


class ClassTable(BaseModel):
    """The classes in network order, the ids that are ignored, and the id that written maps use for "no data".

    Network index *i* is ``classes[i]``. `ignore` lists ids of label files whose pixels have neither loss nor score;
    they may be negative. 0 is ignored too, unless it is a class. `nodata` is never a class; left out, it is 0 if no
    class has that id, else the largest free id up to 255.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    classes: tuple[SegClass, ...] = Field(min_length=2, max_length=IGNORED_INDEX)
    ignore: tuple[int, ...] = ()
    nodata: int = Field(default=-1, ge=-1, le=65535)

    @model_validator(mode="before")
    @classmethod
    def _choose_nodata(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("nodata") is not None:
            return data
        classes = data.get("classes", ())
        taken = {c.get("id") if isinstance(c, Mapping) else getattr(c, "id", None) for c in classes}
        return {**data, "nodata": next(i for i in (0, *range(255, 0, -1)) if i not in taken)}

    @model_validator(mode="after")
    def _consistent(self) -> ClassTable:
        for what, values in (("id", self.ids.tolist()), ("name", self.names)):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"class {what} {twice[0]!r} is given twice")
        both = sorted(set(self.ignore) & set(self.ids.tolist()))
        if both:
            raise ValueError(f"id {both[0]} is a class and ignored")
        if self.nodata in self.ids:
            raise ValueError(f"nodata {self.nodata} is the id of class '{self.names[self.indexes_of(self.nodata)]}'")
        return self

    def __eq__(self, other: object) -> bool:
        # Pydantic would compare the cached arrays too, and cannot.
        if not isinstance(other, ClassTable):
            return NotImplemented
        return (self.classes, self.ignore, self.nodata) == (other.classes, other.ignore, other.nodata)

    def __hash__(self) -> int:
        return hash((self.classes, self.ignore, self.nodata))

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def ids(self) -> np.ndarray:
        """(K,) int64: the file id of each network index."""
        return np.array([c.id for c in self.classes], np.int64)

    @property
    def names(self) -> list[str]:
        """K names, in network order."""
        return [c.name for c in self.classes]

    @property
    def colors(self) -> list[str]:
        """K colours as "#rrggbb", in network order; classes without one get a distinguishable default."""
        return [c.color or _DEFAULT_COLOURS[i % len(_DEFAULT_COLOURS)] for i, c in enumerate(self.classes)]

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every class id and nodata."""
        return np.min_scalar_type(max(int(self.ids.max()), self.nodata))

    def indexes_of(self, class_id: int) -> int:
        """The network index of one file id; ValueError if it is no class."""
        return self.ids.tolist().index(class_id)

    @cached_property
    def ignored_ids(self) -> frozenset[int]:
        """The ids of label files that are no class and are ignored."""
        return frozenset(self.ignore) | ({0} - set(self.ids.tolist()))

    def to_indexes(self, labels: np.ndarray, source: str = "labels", *, of_map: bool = False) -> np.ndarray:
        """File ids (H, W), any integer or whole-numbered type, to network indexes (H, W) uint8.

        Ignored ids, and in a map (`of_map`) nodata, become `IGNORED_INDEX`. Raises InputError that lists other ids
        with their pixel counts; `source` names the file in that message.
        """
        if labels.dtype.kind in "iu" and labels.dtype.itemsize <= 2:  # thousands of patches a second: no sorting
            indexes, known = self._map_lookup if of_map else self._label_lookup
            if known[labels].all():
                return indexes[labels]
        values, inverse = np.unique(labels, return_inverse=True)
        lookup = np.full(len(values), IGNORED_INDEX, np.uint8)
        position = {int(class_id): index for index, class_id in enumerate(self.ids)}
        ignored = self.ignored_ids | ({self.nodata} if of_map else set())
        unknown = []
        for i, value in enumerate(values.tolist()):
            if value in position:
                lookup[i] = position[value]
            elif value == value and value not in ignored:  # NaN is never equal to itself, and means "no label"
                unknown.append(i)
        if unknown:
            counts = np.bincount(inverse.ravel(), minlength=len(values))
            found = {values[i].item(): int(counts[i]) for i in unknown}
            raise InputError(f"{source}: {self.unknown_ids(found, values.tolist())}")
        return lookup[inverse].reshape(labels.shape)

    def unknown_ids(self, counts: Mapping[int | float, int], values: Sequence[int | float]) -> str:
        """That ids, with these pixel counts, are no class, and the remedy; `values` are all ids of the labels."""
        listed = ", ".join(f"{value:g} ({n} px)" for value, n in list(counts.items())[:5])
        more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
        classes = ", ".join(f"{c.id} {c.name}" for c in self.classes[:4]) + (", ..." if len(self) > 4 else "")
        if set(counts) == {255} and {0, 255} >= set(values):
            return f"a mask of 0 and 255, but 255 is no class: {listed}; set the id of its class to 255 ({classes})"
        return f"ids that are no class: {listed}{more}; add them to the classes or to 'ignore' (classes: {classes})"

    @cached_property
    def _label_lookup(self) -> tuple[np.ndarray, np.ndarray]:
        return self._lookup(self.ignored_ids)

    @cached_property
    def _map_lookup(self) -> tuple[np.ndarray, np.ndarray]:
        return self._lookup({*self.ignored_ids, self.nodata})

    def _lookup(self, ignored: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Network index, and whether it may occur, of every 16-bit id; negative ids count from the end."""
        indexes, known = np.full(3 << 15, IGNORED_INDEX, np.uint8), np.zeros(3 << 15, bool)
        known[[i for i in ignored if -(1 << 15) <= i < 1 << 16]] = True
        indexes[self.ids], known[self.ids] = np.arange(len(self), dtype=np.uint8), True
        return indexes, known

    def to_ids(self, indexes: np.ndarray) -> np.ndarray:
        """Network indexes (H, W) to file ids (H, W) in `dtype`; `IGNORED_INDEX` becomes nodata."""
        lookup = np.full(256, self.nodata, self.dtype)
        lookup[: len(self)] = self.ids
        return lookup[indexes]


def shared_classes(
    base: ClassTable, new: ClassTable, mapping: Mapping[str, Sequence[str]] | None = None
) -> tuple[tuple[int, ...], ...]:
    """For each new class the network indexes of the base classes that it continues; empty for a class that is new.

    `mapping` says so by name, ``{"water": ["lake", "river"]}``; several new classes may continue one base class, and
    an empty list makes a class new. Classes it does not name continue the base class of their own name (upper and
    lower case alike). Raises InputError for a name that is no class of its table.
    """
    mapping = mapping or {}
    known = {name.casefold(): index for index, name in enumerate(base.names)}
    for name in mapping:
        if name not in new.names:
            raise InputError(f"class '{name}' is mapped but is no new class; the new ones are {', '.join(new.names)}")
    sources = []
    for name in new.names:
        wanted = mapping.get(name, [name] if name.casefold() in known else [])
        for source in wanted:
            if source.casefold() not in known:
                raise InputError(
                    f"class '{name}': '{source}' is no class of the base, which has {', '.join(base.names)}"
                )
        sources.append(tuple(sorted({known[source.casefold()] for source in wanted})))
    return tuple(sources)


def read_class_csv(path: Path) -> ClassTable:
    """Read a class table from CSV with the columns id, name and, if wanted, color and ignore (1 or true).

    Raises InputError naming the file and the row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows: Sequence[dict[str, str]] = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a class table ({error}); give a UTF-8 CSV file") from None
    columns = set(rows[0]) if rows else set()
    if not {"id", "name"} <= columns or columns - {"id", "name", "color", "ignore"}:
        raise InputError(
            f"{path}: the columns must be id, name and, if wanted, color, ignore; found {sorted(map(str, columns))}"
        )
    classes, ignore = [], []
    for number, row in enumerate(rows, start=2):
        try:
            class_id = int(row["id"])
        except (TypeError, ValueError):
            raise InputError(f"{path}: line {number}: id '{row['id']}' is no whole number") from None
        if (row.get("ignore") or "").strip().lower() in ("1", "true", "yes"):
            ignore.append(class_id)
        else:
            classes.append({"id": class_id, "name": row["name"], "color": (row.get("color") or "").strip() or None})
    from segapp.configuration import validate

    return validate(ClassTable, {"classes": classes, "ignore": ignore}, str(path))
