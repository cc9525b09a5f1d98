"""Any known checkpoint in, one proven backbone out.

Examples:
    twinbench convert checkpoint.pth resnet50.pth
    twinbench convert moco_v2_800ep_pretrain.pth.tar moco.pth --to detectron2
    twinbench convert dino_full.pth student.safetensors --layout dino-full:student
    twinbench convert zoo:moco-v2-800ep moco.pkl
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `twinbench convert` takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file in any known layout, zoo:NAME or random")
    parser.add_argument("out", metavar="OUT", help="the file to write")
    parser.add_argument(
        "--to",
        choices=("torchvision", "detectron2", "timm", "safetensors"),
        help="the form to write (default: safetensors for .safetensors, detectron2 for .pkl, else torchvision)",
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
    from convert.load import load_backbone, local_file, random_backbone
    from convert.write import form_of, write_backbone

    to = arguments.to or form_of(arguments.out)
    if arguments.checkpoint == "random":
        backbone = random_backbone()
    else:
        backbone = load_backbone(local_file(arguments.checkpoint), arguments.layout, arguments.drop)
    write_backbone(backbone, arguments.out, to)
    print(f"{arguments.out}: {to}, from {backbone.layout}, width {backbone.width:g}, sha256 {backbone.sha256}")
    return 0
