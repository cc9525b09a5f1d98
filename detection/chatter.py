"""Keeps what Detectron2 and its friends say away from the terminal, in a file beside the result."""

import contextlib
import logging
from collections.abc import Generator
from pathlib import Path

LOGGERS = ("detectron2", "fvcore", "py.warnings", "torch.fx")


@contextlib.contextmanager
def chatter_to(path: Path) -> Generator[None]:
    """Send the libraries' logs, warnings and prints to the end of `path` for the length of the block.

    stdout is for our answer alone; stderr, with the progress bar, is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        with path.open("a") as file, contextlib.redirect_stdout(file):
            yield
    finally:
        logging.captureWarnings(False)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()
