"""What a page of the docs asks its reader to do, in order: commands, files, Python; and what it says they print."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "protocols.md")]
PROGRAMS = "twinbench python python3 pip pipx uv make torchrun srun git mkdir eval"
COMMAND = re.compile(rf"({'|'.join(PROGRAMS.split())}) (?!\w+: )")  # `twinbench transfer: ...` is what a command says

SCRIPT = ("#!", "#SBATCH")  # one file, not commands one after the other
SYNOPSIS = re.compile(r" \[--|\.\.\.$", re.MULTILINE)  # `twinbench report RESULTS...`


@dataclass(frozen=True)
class Step:
    """One thing that a page asks for: a piece of `shell`, a `yaml` file, `python`; or `text` that was said."""

    kind: str
    text: str
    line: int
    block: int = 0  # its first line


def steps(path: Path) -> list[Step]:
    """Return what a page asks for. A block is of commands if it says `sh`, or says nothing and begins with one."""
    found = []
    for language, text, line in blocks(path):
        if text.startswith(SCRIPT):
            found.append(Step("shell", text, line, line))
        elif language == "sh" or (language == "" and COMMAND.match(text)):
            found += [Step("shell", piece, line + offset, line) for piece, offset in pieces(text)]
        elif language in ("yaml", "python", "text"):
            found.append(Step(language, text, line, line))
    return found


def blocks(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield language, text and first line of each block, fenced or indented."""
    lines = path.read_text().splitlines()
    at = 0
    while at < len(lines):
        fence = re.match(r"( *)```(\w*)$", lines[at])
        begin = at
        at += 1
        if fence:
            while lines[at] != fence[1] + "```":
                at += 1
            yield fence[2], "\n".join(line.removeprefix(fence[1]) for line in lines[begin + 1 : at]) + "\n", begin + 2
            at += 1
        elif lines[begin].startswith("    ") and begin and not lines[begin - 1]:
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            yield "", "\n".join(line[4:] for line in lines[begin:at]) + "\n", begin + 1


def pieces(text: str) -> Iterator[tuple[str, int]]:
    """Yield the commands of a block, each with its offset: lines that bash takes for whole only together are one."""
    piece, begin = "", 0
    for offset, line in enumerate(text.splitlines()):
        begin = begin if piece else offset
        piece += line + "\n"
        said = subprocess.run(["bash", "-n", "-c", piece], capture_output=True, text=True)
        if said.returncode or said.stderr or line.endswith("\\"):  # stderr: a here-document without its end
            continue
        if not re.fullmatch(r"\s*(#.*\s*)?", piece) and not SYNOPSIS.search(piece):
            yield piece.strip(), begin
        piece = ""
    assert not piece, f"not a whole command: {piece}"


def words_of(piece: str) -> list[str] | None:
    """Return the words of a plain `twinbench ...`, or None for what needs a shell."""
    lexer = shlex.shlex(piece, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    plain = words[0] == "twinbench" and not re.search(r"[$`\n]", piece)
    return words[1:] if plain and not any(re.fullmatch(r"[()<>|&;]+", word) for word in words) else None
