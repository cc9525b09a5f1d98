"""Any known checkpoint in, one proven backbone out.

Examples:
    twinbench convert checkpoint.pth resnet50.pth
    twinbench convert moco_v2_800ep_pretrain.pth.tar moco.pth --to detectron2
    twinbench convert dino_full.pth student.safetensors --layout dino-full:student
    twinbench convert zoo:moco-v2-800ep moco.pkl
"""

import argparse
from dataclasses import replace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `twinbench convert` takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file in any known layout, zoo:NAME or random")
    parser.add_argument("out", metavar="OUT", help="the file to write")
    parser.add_argument(
        "--to",
        choices=("torchvision", "detectron2", "timm", "safetensors"),
        help="the form to write (default: safetensors for .safetensors, detectron2 for .pkl, else torchvision)",
    )
    parser.add_argument(
        "--input",
        choices=("imagenet", "imagenet-bgr", "unit"),
        help="the input convention to note in OUT, if the file's own is wrong: ImageNet's mean and std, or [0, 1]",
    )
    add_reading_arguments(parser)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says how to read a checkpoint that the table of layouts does not decide alone."""
    parser.add_argument(
        "--layout", metavar="NAME", help="the layout, or one of its branches (dino-full:student), or KEYS/PREFIX"
    )
    parser.add_argument(
        "--drop", action="append", default=[], metavar="PATTERN", help="tensors to leave out, for example 'my_head.*'"
    )


def run(arguments: argparse.Namespace) -> int:
    """Load, prove and write; say what was written."""
    from twinbench.convert.convention import CONVENTIONS
    from twinbench.convert.finding.find import find
    from twinbench.convert.load import local_file, random_backbone, take
    from twinbench.convert.reading.reader import open_checkpoint
    from twinbench.convert.write import form_of, write_backbone

    to = arguments.to or form_of(arguments.out)
    if arguments.checkpoint == "random":
        backbone, written = random_backbone(), None
    else:
        contents = open_checkpoint(local_file(arguments.checkpoint))
        backbone = take(contents, find(contents, arguments.layout, arguments.drop), borrow=True)
        written = contents.let_go
    if arguments.input:
        backbone = replace(backbone, convention=CONVENTIONS[arguments.input])
    write_backbone(backbone, arguments.out, to, written=written)
    print(f"{arguments.out}: {to}, from {backbone.layout}, width {backbone.width:g}, sha256 {backbone.sha256}")
    return 0
