"""MAT files that hold a network: only MATLAB reads them, but there is a way."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import h5py

from segapp.errors import InputError
from segapp.scenes.hdf5 import HDF5_ERRORS, own_items
from segapp.scenes.mat import MAT_ERRORS, list_variables

_MATLAB_NETWORKS = ("DAGNetwork", "SeriesNetwork", "dlnetwork", "LayerGraph")


def refuse_mat(path: Path) -> NoReturn:
    """A MAT file is no base, but where it holds a network of MATLAB's, there is a way; known by the class names."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r", locking=False) as file:
                kinds = {name: item.attrs.get("MATLAB_class", b"") for name, item in own_items(file)}
                kinds = {name: k.decode("latin1") if isinstance(k, bytes) else str(k) for name, k in kinds.items()}
        else:
            kinds = {name: variable.kind for name, variable in list_variables(path).items()}
    except (*HDF5_ERRORS, *MAT_ERRORS) as error:
        raise InputError(f"{path}: cannot be read as a MAT file ({error}); save it again from MATLAB") from None
    for name, kind in kinds.items():
        if any(network in kind for network in _MATLAB_NETWORKS):
            raise InputError(
                f"{path}: '{name}' is a MATLAB network object, which only MATLAB can read; bring it over: in MATLAB "
                f'`exportONNXNetwork({name}, "{path.stem}.onnx")`, then `{convert_command(path)}`'
            )
    raise InputError(f"{path}: holds no network, but {', '.join(kinds) or 'nothing'}; give a model directory")


def convert_command(path: Path) -> str:
    """The command that converts the ONNX file of the same name."""
    return f"segapp convert {path.stem}.onnx --bands ... --classes classes.csv --output models/{path.stem}"
