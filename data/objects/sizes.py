"""Are the images as large as their annotations say? Detectron2 asks in the middle of a training, image by image."""

import numpy as np

from twinbench.data import hints
from twinbench.data.decode import read_size, upright_size
from twinbench.data.errors import DataError
from twinbench.data.items import ImageFile
from twinbench.data.objects.split import Findings
from twinbench.data.paths import PathList
from twinbench.data.sizes import in_order

VERSION = "1"  # raised when more is asked: what passed once would pass for ever


def size_problem(path: ImageFile, annotated: tuple[int, int]) -> str:
    """Return what is wrong with the size of an image, upright as Detectron2 turns it; empty if nothing."""
    found = upright_size(path)
    if found == annotated:
        return ""
    stored = read_size(path)
    turned = f" ({stored[0]} x {stored[1]} as it is stored: EXIF has it turned)" if stored != found else ""
    return (
        f"{path}: {found[0]} x {found[1]} pixels{turned}, annotated {annotated[0]} x {annotated[1]}; expected the size"
        " of the upright image, as Detectron2 does; correct the annotation, or fetch both again"
    )


def require_sizes(identity: str, paths: PathList, shapes: np.ndarray, findings: Findings) -> None:
    """Compare each image's header with `shapes` (N, 2), width and height, unless data of this `identity` passed."""
    question = ["upright image sizes", VERSION, identity]
    if identity and hints.recall(question):
        return
    began = hints.now()
    sound = True
    for problem in in_order(lambda index: _problem(paths, shapes, index), len(paths)):
        if problem:
            sound = False
            findings.problem("image sizes", problem)
    if sound and identity:
        hints.keep(question, True, (), began)


def _problem(paths: PathList, shapes: np.ndarray, index: int) -> str:
    width, height = shapes[index]
    try:
        return size_problem(paths.one(index), (int(width), int(height)))
    except DataError as error:  # missing, or no image
        return str(error)
