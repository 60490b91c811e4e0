"""A process that trains by the command line, alone or as a worker of the cluster in TF_CONFIG, and may be ended on the
way: python -m tests.training.cluster_worker SIGNAL STEP ARGUMENTS... [/ ARGUMENTS...]

It writes every step to the log, and sends itself the signal of that number before it takes step STEP, counted from 1.
"""

from __future__ import annotations

import itertools
import os
import sys

from segapp.cli import main
from segapp.commands.options import import_tensorflow


def _end_at(number: int, step: int) -> None:
    from segapp.training import fit, loop

    fit.LOG_EVERY = 1
    taken, take = itertools.count(1), loop.Trainer.step

    def step_or_end(*arguments: object) -> loop.StepResult:
        if next(taken) == step:
            os.kill(os.getpid(), number)
        return take(*arguments)

    loop.Trainer.step = step_or_end


if __name__ == "__main__":
    import_tensorflow()
    _end_at(int(sys.argv[1]), int(sys.argv[2]))
    for separated, arguments in itertools.groupby(sys.argv[3:], "/".__eq__):
        if not separated:
            main(list(arguments))
