"""What twinbench finds here: versions, devices, Detectron2's origin, caches, disk, Slurm; and what is wrong with it.

Ends with exit code 1 if something is. For a bug report, add what this example prints:

    twinbench doctor            imports torch and Detectron2 in a process of its own, to see that they work
    twinbench doctor --quick    imports nothing
    twinbench doctor --json     for programs
"""

import argparse
import json
import platform
import sys
from typing import Any

import twinbench
from twinbench.protocols.house import coloured
from twinbench.report.provenance import code
from twinbench.runtime.duration import disk_space
from twinbench.suite.doctor import machine
from twinbench.suite.doctor.packages import OPTIONAL, REQUIRED, Detectron2, find_detectron2, installed, unfit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench doctor` takes."""
    parser.add_argument("--quick", action="store_true", help="import nothing: metadata only, no devices")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what is there and what is wrong; return 1 if something is."""
    found = examined(quick=arguments.quick)
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(_lines(found)))
    return 1 if found["problems"] else 0


def examined(*, quick: bool) -> dict[str, Any]:
    """Return all that is found."""
    detectron2 = find_detectron2()
    versions = installed([*REQUIRED, *OPTIONAL])
    probe = None if quick else machine.Probe(_modules(versions, detectron2))
    found: dict[str, Any] = {
        "twinbench": {"version": twinbench.__version__, **code()},
        "python": {"version": platform.python_version(), "path": sys.executable},
        "machine": machine.hardware(),
        "packages": versions,
        "detectron2": vars(detectron2),
        "places": machine.places(),
        "slurm": machine.slurm(),
    }
    imports = probe.ended() if probe else machine.Imports()
    found["devices"] = imports.devices
    found["imports"] = imports.errors
    found["problems"] = [*unfit(versions), *_broken(imports.errors), *_places(found["places"]), *_cards(found)]
    found["notes"] = [*_optional(versions), *_detectron2(detectron2, imports.errors)]
    if found["slurm"].get("problem"):
        found["problems"].append(f"Slurm: {found['slurm']['problem']}")
    return found


def _modules(versions: dict[str, str], detectron2: Detectron2) -> list[str]:
    """Return what is worth an import: what is compiled against something else."""
    names = [name for name in ("torch", "torchvision") if name in versions]
    if detectron2.place and names:
        names.append("detectron2.layers")
    return [*names, "detectron2._C"] if detectron2.fits and names else names


def _broken(errors: dict[str, str]) -> list[str]:
    """Return what is installed but cannot be imported."""
    advice = {
        "torch": "install it anew: pip install --force-reinstall torch torchvision",
        "torchvision": "it must be of torch's release and built for the same device: install both anew, by one command",
        "detectron2.layers": "see docs/detection.md, Which Detectron2; all but detection works without",
        "detectron2._C": "it was built for another torch: build it again, or remove the file; see docs/detection.md",
    }
    return [f"{name}: {error}; {advice[name]}" for name, error in errors.items() if error]


def _places(places: list[dict[str, Any]]) -> list[str]:
    """Return the folders that cannot be written to, or are nearly full."""
    wrong: list[str] = []
    if all(place["name"] != "cache" for place in places):
        wrong.append("this user has no home folder for caches; name another one: export TWINBENCH_CACHE=FOLDER")
    for place in places:
        if place["name"] == "cache" and not place["writable"]:
            wrong.append(f"{place['path']} is not writable; name another folder: export TWINBENCH_CACHE=FOLDER")
        if place["free_bytes"] < machine.LITTLE:
            free = disk_space(place["free_bytes"])
            wrong.append(
                f"the disk of {place['path']} ({place['name']}) has {free} left; make room, or write elsewhere"
            )
    return wrong


def _cards(found: dict[str, Any]) -> list[str]:
    """Return why torch does not use the cards that the driver has."""
    cards, devices = found["machine"]["cards"], found["devices"]
    if not cards or not devices or devices["gpus"]:
        return []
    built = "was built without CUDA" if not devices["cuda"] else f"was built for CUDA {devices['cuda']}"
    return [
        f"torch sees none of {len(cards)} GPUs ({cards[0]}): it {built}; expected a build that this driver runs, and "
        "CUDA_VISIBLE_DEVICES not empty; see docs/gpu.md"
    ]


def _optional(versions: dict[str, str]) -> list[str]:
    """Return what could be added."""
    missing = [(name, *OPTIONAL[name]) for name in OPTIONAL if name not in versions]
    return [f"without {name}: no {brings}; {how}" for name, brings, how in missing]


def _detectron2(found: Detectron2, errors: dict[str, str]) -> list[str]:
    """Say what detection can do with what is there."""
    if not found.place:
        return ["without Detectron2: no detection; run: make setup, or see docs/detection.md"]
    if "detectron2._C" in errors:
        return []
    if found.fits:
        return ["Detectron2 has a compiled part for this Python; --quick does not try it"]
    has = f"is for another Python ({', '.join(found.compiled)})" if found.compiled else "is not there"
    return [f"Detectron2's compiled part {has}: torchvision's operators and pycocotools do its work"]


def _lines(found: dict[str, Any]) -> list[str]:
    """Return all of it for people."""
    code, machine, devices = found["twinbench"], found["machine"], found["devices"]
    changed = ", with changes" if code["dirty"] == "True" else ""
    cores = f"{machine['usable_cores']} of {machine['cores']} cores"
    rows = [
        ("twinbench", f"{code['version']}, code {code['root']}, commit {code['commit'][:12]}{changed}"),
        ("python", f"{found['python']['version']}, {found['python']['path']}"),
        ("machine", f"{machine['system']}, {cores}, {disk_space(machine['memory_bytes'])} of memory"),
    ]
    rows += [("card", card) for card in machine["cards"]]
    if devices:
        built = f"CUDA {devices['cuda']}" if devices["cuda"] else f"ROCm {devices['hip']}" if devices["hip"] else "CPU"
        cudnn = f", cuDNN {devices['cudnn']}" if devices["cudnn"] else ""
        rows.append(("torch for", f"{built}{cudnn}"))
        for number, gpu in enumerate(devices["gpus"]):
            memory = disk_space(gpu["memory_bytes"])
            rows.append((f"cuda:{number}", f"{gpu['name']}, {memory}, capability {gpu['capability']}"))
        if not devices["gpus"]:
            rows.append(("devices", "cpu"))
    detectron2 = found["detectron2"]
    if detectron2["place"]:
        version = f"{detectron2['version']}, " if detectron2["version"] else ""
        loads = ", its compiled part loads" if found["imports"].get("detectron2._C") == "" else ""
        rows.append(("detectron2", f"{version}{detectron2['origin']}, {detectron2['place']}{loads}"))
    rows += list(found["packages"].items())
    for place in found["places"]:
        there = "" if place["there"] else ", not there yet"
        rows.append((place["name"], f"{place['path']}{there}, {disk_space(place['free_bytes'])} free"))
    slurm = found["slurm"]
    rows += [("Slurm", line) for line in slurm.get("about", [])] if slurm["there"] else [("Slurm", "not here")]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    note, problem = coloured("note:", "yellow", sys.stdout), coloured("problem:", "red", sys.stdout)
    lines += [f"{note} {text}" for text in found["notes"]]
    lines += [f"{problem} {text}" for text in found["problems"]]
    count = len(found["problems"])
    return [*lines, f"{count} problem{'s' * (count > 1)}" if count else "no problem found"]
