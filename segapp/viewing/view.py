"""`segapp.view`: a page that shows a scene and the maps made of it, served to a browser on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from segapp.model.bundle import read_spec
from segapp.scenes.retile import quick_to_read
from segapp.scenes.rules import BandChoice
from segapp.viewing.class_map import ClassMap
from segapp.viewing.page_files import require_rio_tiler
from segapp.viewing.server import ViewServer
from segapp.viewing.shown_scene import ShownScene
from segapp.viewing.site import Site
from segapp.viewing.tiles import TILE


def view(
    scene: str | Path,
    classes: str | Path,
    *,
    compare: str | Path | None = None,
    model: str | Path | None = None,
    bands: Sequence[BandChoice] | None = None,
    port: int = 0,
    browser: bool = True,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve a page with `scene`, the class map `classes` over it and, with a swipe bar between them, `compare`.

    The page is at http://127.0.0.1:`port`/TOKEN/ (0: a free port), reached from this machine only, and by who knows the
    random token; `ready` is called with its URL, and with `browser` it is opened. `bands` are shown as red, green and
    blue at first; with `model`, a model directory, they are the model's, and values are in its units. Returns never,
    but raises KeyboardInterrupt when it is interrupted, with everything closed. Raises InputError where a file cannot
    be read, a map cannot be placed on the scene, a package is missing or the port is taken.
    """
    with serving(scene, classes, compare=compare, model=model, bands=bands, port=port) as server:
        ready(server.url)
        if browser and _has_screen():
            threading.Thread(target=_open, args=(server.url,), daemon=True).start()
        server.serve_forever()


@contextmanager
def serving(
    scene: str | Path,
    classes: str | Path,
    *,
    compare: str | Path | None = None,
    model: str | Path | None = None,
    bands: Sequence[BandChoice] | None = None,
    port: int = 0,
) -> Iterator[ViewServer]:
    """The server of `view`, bound to its port and not yet answering; at the end it is closed and nothing runs on."""
    require_rio_tiler()
    spec = read_spec(Path(model)) if model is not None else None
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said of each tile
        source = stack.enter_context(quick_to_read(Path(scene), TILE, Path(tempfile.gettempdir())))
        shown = ShownScene(source, bands, spec)
        known = spec.classes if spec else None
        maps = [ClassMap(Path(each), shown.raster, known) for each in (classes, compare) if each is not None]
        yield stack.enter_context(ViewServer(Site(shown, maps), port))


def _has_screen() -> bool:
    """Whether a browser would have a window; without one a text browser would take over the terminal."""
    shown_on = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in shown_on)


def _open(url: str) -> None:
    with suppress(webbrowser.Error):
        webbrowser.open(url)
