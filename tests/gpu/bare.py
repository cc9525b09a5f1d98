"""Runs the GPU tests and benchmarks on a bare machine: a card, PyTorch and no network. Nothing is installed there.

Usage:
  python3 tests/gpu/bare.py pack FOLDER [--python 3.12]             here: the wheels that such a machine lacks
  python3 tests/gpu/bare.py test [--wheels FOLDER] [PYTEST ARGS]    there: pytest -m gpu tests/gpu
  python3 tests/gpu/bare.py bench [--wheels FOLDER] [BENCH ARGS]    there: python -m benchmarks.gpu

`pack` asks the package index through pip. `test` and `bench` need the standard library and what the machine has: its
own packages win, missing ones are unpacked into a temporary folder. Without --wheels they look into build/wheels,
which git ignores. Exit code: the command's; 2 for a mistake, told in one line.
"""

import argparse
import operator
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / "build" / "wheels"
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
MODULES = {
    "test": ("pytest", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu"),
    "bench": ("benchmarks.gpu",),
}
LIMIT_MB = 60  # a machine that is lent for minutes takes 64 MiB in all

# Small packages that a machine with PyTorch may lack, in the versions of constraints.txt. The large ones (NumPy,
# scikit-learn, TensorBoard with gRPC) must be there.
CARRIED = (
    *("cloudpickle", "faster-coco-eval", "hydra-core", "iniconfig", "kornia", "kornia-rs", "omegaconf", "pluggy"),
    *("portalocker", "pycocotools", "pygments", "pytest", "submitit", "tabulate", "termcolor", "timm", "yacs"),
)
BUILT = ("antlr4-python3-runtime", "fvcore", "iopath")  # published as sources only; pure Python
ALSO_CALLED = {"sal-detectron2": "detectron2"}  # a build from Detectron2's repository
NEEDLESS = {"black"}  # Detectron2's wheel asks for it, to print lazy configurations: nobody here does
SIGNS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq, "!=": operator.ne}


class BareError(Exception):
    """A mistake of the user, or a machine that cannot do it: one line."""


def main(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="fetch the wheels", allow_abbrev=False)
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default=RUNNING, metavar="3.N", help=f"the bare machine's ({RUNNING})")
    for name, module in MODULES.items():
        running = commands.add_parser(name, help=f"run {module[0]} there", add_help=False, allow_abbrev=False)
        running.add_argument("--wheels", type=Path)
    options, rest = parser.parse_known_args(argv)
    if options.command == "pack" and rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.command == "pack":
            return pack(options.folder, options.python)
        return run(options.command, rest, options.wheels)
    except BareError as error:
        print(f"bare.py: {error}", file=sys.stderr)
        return 2


def pack(folder: Path, python: str) -> int:
    """Fetch the wheels for the Python `python`, as "3.12", into `folder`, new or empty: whole, or not at all."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BareError(f"{folder} exists and is no empty folder; remove it, or name another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        wheels = Path(beside) / "wheels"
        fetch(wheels, python)
        weigh(wheels)
        wheels.replace(folder)
    return 0


def fetch(wheels: Path, python: str) -> None:
    """Bring all wheels into the folder `wheels` by pip; what is published as sources only is built."""
    versions = ["--constraint", str(ROOT / "constraints.txt")]
    binary = ["--only-binary=:all:", "--dest", str(wheels)]
    pinned = ["--require-hashes", "--requirement", str(ROOT / "detectron2.txt")]
    for call in (
        ["download", "--python-version", python, *binary, *versions, *CARRIED],
        ["download", "--python-version", "3.10", *binary, *pinned],  # what Detectron2's wheel is named for
        ["wheel", "--wheel-dir", str(wheels), *versions, *BUILT],
    ):
        pip = [sys.executable, "-m", "pip", call[0], "--quiet", "--disable-pip-version-check", "--no-deps", *call[1:]]
        if subprocess.run(pip).returncode:
            raise BareError(f"pip failed, in its words above; it was asked for {' '.join(call)}")


def weigh(wheels: Path) -> None:
    """Print the wheels of a folder with their sizes, largest first; refuse more than the limit."""
    sizes = {path.name: path.stat().st_size / 1e6 for path in wheels.glob("*.whl")}
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        print(f"{sizes[name]:6.2f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total:6.2f} MB  in {len(sizes)} wheels; {LIMIT_MB} MB may travel")
    if total > LIMIT_MB:
        raise BareError(f"{total:.2f} MB of wheels are more than the {LIMIT_MB} MB that may travel; shorten CARRIED")


def run(command: str, arguments: list[str], wheels: Path | None) -> int:
    """Run the tests or the benchmarks with this machine's packages and, where it lacks some, those of `wheels`.

    Nothing is written into the repository or among the machine's packages, not even bytecode.
    """
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise BareError(f"no wheels in {wheels}; fetch them with: bare.py pack {wheels} --python {RUNNING}")
    with tempfile.TemporaryDirectory(prefix="bare-") as temporary:
        packages = Path(temporary) / "packages"
        unpack(sorted((wheels or WHEELS).glob("*.whl")), packages)
        if lacking := still_missing(packages):
            print(f"bare.py: neither here nor carried, so what needs it will fail: {', '.join(lacking)}")
        subprocess.run([sys.executable, "-m", "compileall", "-qq", "-j", "0", packages])
        paths = [str(packages), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.stdout.flush()
        return call([sys.executable, "-m", *MODULES[command], *arguments], settings)


def call(command: list[str], settings: dict[str, str]) -> int:
    """Run a command in the repository; return its exit code, 128 and more where a signal ended it, as shells do.

    SIGINT and SIGTERM are handed on and the end is waited for: the benchmarks write down what they have. Once, and by
    a session of the command's own: `timeout` and terminals send them to all that they started, and a second one would
    end the writing.
    """
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, start_new_session=True)

    def hand_on(number: int, _: object) -> None:
        signal.signal(number, lambda *_: None)
        process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def unpack(wheels: Iterable[Path], folder: Path) -> None:
    """Unpack into `folder` the wheels whose package is missing here, or is here in a version that does not do."""
    carried = {wheel: next(iter(metadata.distributions(path=[str(wheel)]))) for wheel in wheels}
    taken = choose(list(carried.values()))
    folder.mkdir()
    for wheel, package in carried.items():
        here = installed(package.name)
        if package not in taken:
            print(f"bare.py: {package.name} {here} is here; the carried {package.version} stays packed")
            continue
        abi = wheel.stem.split("-")[-2]  # "none" where nothing is compiled, and for Detectron2, which does without
        if abi.startswith("cp") and abi != "cp" + RUNNING.replace(".", ""):
            raise BareError(f"{wheel.name} is not for this Python {RUNNING}; pack with --python {RUNNING}")
        print(f"bare.py: {package.name} {package.version} is taken" + f"; the {here} here does not do" * bool(here))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def choose(carried: list[metadata.Distribution]) -> list[metadata.Distribution]:
    """Return those that are missing here, and those that these need in another version than the one here.

    The machine's packages fit each other, so none is replaced without need.
    """
    taken, more = [], [package for package in carried if installed(package.name) is None]
    while more:
        taken += more
        wanted = [need for package in taken for need in needs(package.requires or [])]
        unmet = {name for name, versions in wanted if not fits(installed(name) or "", versions)}
        more = [package for package in carried if package not in taken and canonical(package.name) in unmet]
    return taken


def still_missing(unpacked: Path) -> list[str]:
    """Return what twinbench, its tests or an unpacked package asks for and is neither here nor unpacked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["detection"], *extras["faster"], *extras["models"], "pytest"]
    have = set(NEEDLESS)
    for package in metadata.distributions(path=[str(unpacked)]):
        asked += package.requires or []
        have.add(canonical(package.name))
    return sorted({name for name, _ in needs(asked) if name not in have and not installed(name)})


def needs(requirements: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and versions of each requirement, as ("omegaconf", "<2.4,>=2.2"), but for those with a condition."""
    for requirement in requirements:
        if match := re.fullmatch(r"([\w.-]+) ?\(?([^;()]*)\)?", requirement):
            yield canonical(match[1]), match[2].replace(" ", "")


def fits(version: str, versions: str) -> bool:
    """Say whether a version meets all clauses of "<2.4,>=2.2"; not, where a sign or a version is no plain one."""
    for clause in filter(None, versions.split(",")):
        sign, bound = re.fullmatch(r"(\D+)(.+)", clause).groups()
        found, wanted = ([int(number) for number in re.findall(r"\d+", text)] for text in (version, bound))
        if bound.endswith(".*"):
            found = found[: len(wanted)]
        if sign not in SIGNS or not SIGNS[sign](found, wanted):
            return False
    return True


def installed(name: str) -> str | None:
    """Return the version of a package that this Python has, None where it has none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return installed(ALSO_CALLED[name]) if name in ALSO_CALLED else None


def canonical(name: str) -> str:
    """Return a package's name as all may write it: `kornia-rs` of `kornia_rs`."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
