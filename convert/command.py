"""Any known checkpoint in, one proven backbone out.

Examples:
    twinbench convert checkpoint.pth resnet50.pth
    twinbench convert moco_v2_800ep_pretrain.pth.tar moco.pth --to detectron2
    twinbench convert dino_full.pth student.safetensors --layout dino-full:student
    twinbench convert timm:vit_base_patch16_224=dino_vitbase16.pth vit.pth --input imagenet
    twinbench convert zoo:moco-v2-800ep moco.pkl
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `twinbench convert` takes."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a file or folder in any known layout, LIBRARY:NAME=FILE, zoo:NAME, hf:ORG/MODEL or random",
    )
    parser.add_argument("out", metavar="OUT", help="the file: *.pth .pt .pth.tar .ckpt .bin .safetensors or .pkl")
    parser.add_argument(
        "--to",
        choices=("torchvision", "detectron2", "timm", "safetensors"),
        help="the form to write (default: safetensors for .safetensors, detectron2 for .pkl, else that of the library "
        "that has the network: torchvision or timm)",
    )
    add_reading_arguments(parser)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says how to read a checkpoint that the table of layouts does not decide alone."""
    parser.add_argument(
        "--layout", metavar="NAME", help="the layout, or one of its branches (dino-full:student), or KEYS/PREFIX"
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="PATTERN",
        help="tensors beside the trunk to leave out, for example 'my_head.*'",
    )
    parser.add_argument(
        "--input",
        metavar="NAME",
        help="the input convention, where the file does not say or is wrong: imagenet, half, clip, unit, imagenet-bgr, "
        "or MEAN/STD as 0.5,0.5,0.5/0.5,0.5,0.5",
    )
    parser.add_argument(
        "--cast", action="store_true", help="round numbers of 64 bits to 32 where that loses digits; is noted"
    )


def run(arguments: argparse.Namespace) -> int:
    """Load, prove and write; say what was written."""
    from twinbench.convert.finding.find import Wanted
    from twinbench.convert.opening import open_backbone
    from twinbench.convert.write import form_of, require_ending, write_backbone

    require_ending(arguments.out)  # before a large file is read
    wanted = Wanted(arguments.layout, arguments.drop)
    backbone = open_backbone(arguments.checkpoint, convention=arguments.input, wanted=wanted, cast=arguments.cast)
    to = arguments.to or form_of(arguments.out, backbone)
    write_backbone(backbone, arguments.out, to)
    cast = f", cast from {backbone.cast}" if backbone.cast else ""
    print(
        f"{arguments.out}: {to}, {backbone.architecture} from {backbone.layout}{cast}, input {backbone.convention} "
        f"({backbone.convention_from}), sha256 {backbone.sha256}"
    )
    return 0
