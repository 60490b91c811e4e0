"""What a training step costs with the memory allocator as segapp sets it, and as it comes.

    python tools/bench_allocator.py [--steps 60]

Each in a process of its own, in turn, twice: seconds of user and system time, and page faults, a step.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import keras

_WARM_UP = 20


class _Usage(keras.callbacks.Callback):
    """Prints what each step took, from the 20th on."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.taken = steps, 0

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.taken += 1
        if self.taken == _WARM_UP:
            self.before = resource.getrusage(resource.RUSAGE_SELF)
        if self.taken == self.steps:
            after, counted = resource.getrusage(resource.RUSAGE_SELF), self.steps - _WARM_UP
            user, system, faults = (
                (getattr(after, name) - getattr(self.before, name)) / counted
                for name in ("ru_utime", "ru_stime", "ru_minflt")
            )
            click.echo(f"user {user:.3f} s, system {system:.3f} s, {faults:,.0f} page faults a step")


def measure(steps: int, as_it_comes: bool) -> None:
    """Train for a few steps on sample scenes."""
    import segapp
    from segapp.samples.write import write_samples
    from segapp.training import devices
    from segapp.training.recipe import read_recipe

    if as_it_comes:
        devices._keep_freed_memory = lambda: None
    with tempfile.TemporaryDirectory() as folder:
        data = write_samples(Path(folder) / "samples", scenes=4, size=256)
        recipe = read_recipe("default", {"steps": steps})
        segapp.train(data, Path(folder) / "model", recipe=recipe, callbacks=[_Usage(steps)], quiet=True)


@click.command()
@click.option("--steps", default=60, show_default=True)
@click.option("--only", type=click.Choice(["set", "as-it-comes"]), hidden=True)
def main(steps: int, only: str | None) -> None:
    """Run both in turn, twice."""
    if only:
        measure(steps, only == "as-it-comes")
        return
    for which in ("set", "as-it-comes") * 2:
        click.echo(f"{which:12}", nl=False)
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--steps", str(steps), "--only", which], check=True)


if __name__ == "__main__":
    main()
