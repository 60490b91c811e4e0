"""What may stand in a dataset.toml: the tables, their keys and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from segapp.classes import ClassTable, SegClass, read_class_csv
from segapp.configuration import Strict, validate
from segapp.scenes.blocks import Role
from segapp.scenes.rules import ImageRules, LabelRules


class SplitFile(Strict):
    """A CSV file that gives scenes their roles; scenes of other roles, or not in it, are left out."""

    file: str
    name: str = "name"
    """The column with the scene's name, or the name of its image file."""
    role: str = "role"
    """The column with the role."""
    roles: dict[Role, str] = Field(default={"train": "train", "val": "val", "test": "test"}, min_length=1)
    """What the file calls each role."""
    group: str | None = None
    """The column that says which scenes show one place: those are held out together."""


class ClassList(Strict):
    """The classes, in the order of the network: a `list` of tables, or a CSV `file` (id, name, color, ignore)."""

    file: str | None = None
    list: tuple[SegClass, ...] | None = None
    ignore: tuple[int, ...] = ()
    nodata: int | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ClassList:
        if (self.file is None) == (self.list is None):
            raise ValueError("give the classes either as 'list' or as a 'file'")
        return self

    def table(self, toml: Path) -> ClassTable:
        """The class table; raises InputError naming `toml` or the CSV file."""
        classes, ignore = self.list or (), self.ignore
        if self.file is not None:
            listed = read_class_csv(toml.parent / self.file)
            classes, ignore = listed.classes, (*listed.ignore, *ignore)
        if self.nodata is not None and self.nodata not in {
            c.id for c in classes
        }:  # an id that is named as "no data" has no data in the labels either
            ignore = (*ignore, self.nodata)
        data = {"classes": [c.model_dump() for c in classes], "ignore": ignore, "nodata": self.nodata}
        return validate(ClassTable, data, f"{toml}: classes")


class SceneFiles(Strict):
    """The files of one scene, or by a glob of many; paths are relative to the dataset's file.

    In `labels` and `quality`, "{name}" stands for the scene's name. `variable`, `label_variable`,
    `scale` and `offset` take precedence over the reading rules.
    """

    image: str | tuple[str, ...] = Field(min_length=1)
    """A path or glob; a list of them is one scene of several files."""
    labels: str
    quality: str | None = None
    """The file with the quality band, where the image does not hold it."""
    role: Role | None = None
    name: str | None = None
    """By default the stem of the (first) image file."""
    variable: str | None = None
    label_variable: str | None = None
    scale: float | tuple[float, ...] | None = None
    offset: float | tuple[float, ...] | None = None
    """As in the reading rules, for scenes that differ: -0.1 for Sentinel-2 from processing baseline 04.00."""


class DatasetFile(Strict):
    """A dataset.toml."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str | None = None
    split: Literal["blocks"] | SplitFile | None = None
    image: ImageRules = ImageRules()
    labels: LabelRules = LabelRules()
    classes: ClassList
    scenes: tuple[SceneFiles, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _roles_from_one_place(self) -> DatasetFile:
        for number, scene in enumerate(self.scenes):
            if self.split is not None and scene.role is not None:
                raise ValueError(f"scenes.{number} has a role, and so does the split; leave out one of them")
            if self.split is None and scene.role is None:
                raise ValueError(f'scenes.{number} needs a role: "train", "val" or "test" (or give a split)')
        return self
