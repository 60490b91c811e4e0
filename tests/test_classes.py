"""File ids outside, contiguous indexes inside, and no id lost between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from segapp.classes import IGNORED_INDEX, ClassTable, SegClass, read_class_csv, shared_classes
from segapp.errors import InputError


def table(*ids: int, ignore: tuple[int, ...] = (), nodata: int | None = None) -> ClassTable:
    classes = [{"id": i, "name": f"class {i}"} for i in ids]
    return ClassTable.model_validate({"classes": classes, "ignore": ignore, "nodata": nodata})


@given(
    st.lists(st.integers(0, 65535), min_size=2, max_size=255, unique=True),
    st.sampled_from([np.uint16, np.int32, np.int64, np.float64]),
    st.randoms(),
)
def test_ids_survive_the_way_to_indexes_and_back(ids: list[int], dtype: type, random: object) -> None:
    classes = table(*ids)
    labels = np.array(ids, dtype).reshape(1, -1)
    indexes = classes.to_indexes(labels)
    assert indexes.dtype == np.uint8
    np.testing.assert_array_equal(indexes, np.arange(len(ids))[np.newaxis])
    back = classes.to_ids(indexes)
    assert back.dtype == classes.dtype
    np.testing.assert_array_equal(back, labels)


@given(st.lists(st.integers(-300, 300), max_size=6), st.sampled_from([np.int16, np.int32, np.float32]))
def test_every_integer_type_gives_the_same_indexes(values: list[int], dtype: type) -> None:
    classes = table(3, 7, ignore=(-1, *(i for i in range(-300, 301) if i not in (3, 7))))
    expected = [{3: 0, 7: 1}.get(value, IGNORED_INDEX) for value in values]
    assert classes.to_indexes(np.array(values, dtype)).tolist() == expected


def test_ignored_ids_nodata_and_nan_become_the_ignored_index() -> None:
    classes = table(1, 2, ignore=(-1, 200), nodata=9)
    labels = np.array([[1, 2, -1], [200, 9, np.nan]])
    assert classes.to_indexes(labels, of_map=True).tolist() == [[0, 1, IGNORED_INDEX], [IGNORED_INDEX] * 3]
    with pytest.raises(InputError, match=r"ids that are no class: 9 \(1 px\)"):
        classes.to_indexes(labels)  # nodata is of maps; labels that mean nothing are ignored by name
    assert classes.to_ids(np.array([0, 1, IGNORED_INDEX], np.uint8)).tolist() == [1, 2, 9]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float32])
def test_unknown_ids_are_listed_with_their_pixel_counts(dtype: type) -> None:
    labels = np.array([[1, 2, 5], [5, 7, 1]], dtype)
    with pytest.raises(InputError, match=r"mask\.png: .*5 \(2 px\), 7 \(1 px\); add them .*1 class 1, 2 class 2"):
        table(1, 2).to_indexes(labels, "mask.png")


def test_a_logical_mask_is_classes_0_and_1() -> None:
    assert table(0, 1).to_indexes(np.array([True, False])).tolist() == [1, 0]


@given(st.lists(st.integers(0, 65535), min_size=2, max_size=255, unique=True))
def test_nodata_is_never_a_class(ids: list[int]) -> None:
    classes = table(*ids)
    assert classes.nodata not in ids
    assert np.iinfo(classes.dtype).max >= max(*ids, classes.nodata)
    assert classes.nodata == 0 or 0 in ids


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "id 1 is given twice"),
        ({"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "name 'a' is given twice"),
        ({"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "ignore": [2]}, "id 2 is a class and ignored"),
        ({"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "nodata": 2}, "nodata 2 is the id of class 'b'"),
        ({"classes": [{"id": 1, "name": "a", "color": "gren"}, {"id": 2, "name": "b"}]}, "'gren' is no colour"),
    ],
)
def test_contradictions_in_a_class_table_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClassTable.model_validate(settings)


def test_ids_names_and_colours_survive_json() -> None:
    classes = ClassTable(classes=(SegClass(id=10, name="tree", color="green"), SegClass(id=80, name="water")))
    classes.to_indexes(np.array([10, 80], np.uint8))  # what it remembers from use is no part of it
    again = ClassTable.model_validate_json(classes.model_dump_json())
    assert again == classes and hash(again) == hash(classes)
    assert again != table(10, 80)
    assert again.colors == classes.colors
    assert again.colors[0] == "#008000"


def test_a_class_csv_gives_classes_colours_and_ignored_ids(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text("id,name,color,ignore\n0,unlabelled,,1\n10,tree,#006400,\n80,water,,\n", encoding="utf-8-sig")
    classes = read_class_csv(path)
    assert (classes.ids.tolist(), classes.names, classes.ignore) == ([10, 80], ["tree", "water"], (0,))
    assert classes.colors[0] == "#006400"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id;name\n1;a\n", "columns must be id, name"),
        ("id,name\n1,a\nx,b\n", "line 3: id 'x' is no whole number"),
        ("id,name\n1,a\n1,b\n", "id 1 is given twice"),
        ("", "columns must be id, name"),
        ("id,name\n1,a\n", "at least 2"),
    ],
)
def test_a_bad_class_csv_is_one_line_naming_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_class_csv(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_missing_class_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        read_class_csv(tmp_path / "nowhere.csv")


def named(*names: str) -> ClassTable:
    return ClassTable.model_validate({"classes": [{"id": i, "name": name} for i, name in enumerate(names, start=1)]})


NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=2, unique=True)


@given(NAMES, NAMES)
def test_classes_continue_the_bases_of_their_name(base: list[str], new: list[str]) -> None:
    found = shared_classes(named(*base), named(*(name.upper() for name in new)))
    assert [[base[source] for source in sources] for sources in found] == [[n] if n in base else [] for n in new]


@given(NAMES, NAMES, st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"))))
def test_a_mapping_says_otherwise_or_names_what_it_does_not_know(
    base: list[str], new: list[str], mapping: dict[str, list[str]]
) -> None:
    strangers = set(mapping) - set(new) | {source for sources in mapping.values() for source in sources} - set(base)
    if strangers:
        with pytest.raises(InputError, match=f"'[{''.join(strangers)}]' is "):
            shared_classes(named(*base), named(*new), mapping)
        return
    found = shared_classes(named(*base), named(*new), mapping)
    plain = shared_classes(named(*base), named(*new))
    for name, sources, own in zip(new, found, plain, strict=True):
        assert sources == (tuple(sorted({base.index(s) for s in mapping[name]})) if name in mapping else own)


def test_classes_merge_split_and_begin_anew() -> None:
    base, new = named("lake", "river", "forest"), named("water", "Forest", "conifer", "lake")
    mapping = {"water": ["river", "Lake"], "conifer": ["forest"], "lake": []}
    assert shared_classes(base, new, mapping) == ((0, 1), (2,), (2,), ())


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"sea": ["lake"]}, "class 'sea' is mapped but is no new class; the new ones are water, forest"),
        ({"water": ["lake", "sea"]}, "class 'water': 'sea' is no class of the base, which has lake, river"),
    ],
)
def test_a_mapping_of_unknown_classes_lists_the_known(mapping: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        shared_classes(named("lake", "river"), named("water", "forest"), mapping)
