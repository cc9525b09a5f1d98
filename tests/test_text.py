"""Text made to hurt ends in one line, soon and in little memory; text as people write it means what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinbench.protocols.house import LONGEST, UserError
from twinbench.protocols.text import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, TextError, parse_json, read_json, read_text
from twinbench.protocols.yaml_text import MAX_BYTES as MAX_YAML
from twinbench.protocols.yaml_text import parse_yaml, read_yaml

ROOT = Path(__file__).parent.parent
SECONDS = 4  # of computing; 2 on a free core, the rest is room for a machine that is busy with other tests
MEMORY = 500 << 20  # bytes of addresses, Python's own and PyYAML among them


def doubling(first: str, each: str, times: int = 12) -> str:
    """Return YAML in which each line names the one before nine times: 9 ** 12 of the first are gigabytes."""
    lines = [f"a0: &a0 {first}"]
    for number in range(1, times):
        lines.append(f"a{number}: &a{number} " + each.format(", ".join([f"*a{number - 1}"] * 9)))
    return "\n".join(lines)


HOSTILE_YAML = {
    # name: (text, what the one line says)
    "aliases": (doubling("[x, x, x]", "[{}]"), "more than 20000 values, with what aliases stand for"),
    "merged aliases": (doubling("{x: 1}", "{{<<: [{}]}}"), "more than 20000 values"),
    "an alias of itself": ("a: &a [1, *a]", "line 1: .* alias of the very value that it stands in"),
    "lists in lists": ("[" * MAX_YAML, "more than 30 values within each other"),
    "mappings in mappings": ("{a: " * 50_000, "more than 30 values"),
    "blocks in blocks": ("".join(" " * depth + "a:\n" for depth in range(700)), "line 30: .*more than 30 values"),
    "values": ("[" + "{}," * (MAX_YAML // 3 - 1) + "]", "more than 20000 values"),
    "lines": ("- a\n" * (MAX_YAML // 4), "line 20000: .*more than 20000 values"),
    "keys": ("".join(f"? a{number}\n" for number in range(30_000)), "more than 20000 values"),
    "decimal digits": ("a: " + "9" * 5000, "a number of 5000 digits; expected 100 at most"),
    "hexadecimal digits": ("a: 0x" + "f" * (MAX_YAML - 10), "a number of .* digits"),
    "no digits": ("a: 1\nb: 0b_", "line 2: .*0b_ is no number; put a text into quotes"),
    "half a letter": ('a: "\\ud800"', r"half a letter, in '\\ud800'"),
    "half a letter as a key": ('"\\udfff": a', "half a letter"),
    "no letter": ('a: "\\UFFFFFFFF"', "an escape that stands for no letter"),
    "NUL, escaped": ('a: "x\\0"', r"a control character, .* in 'x\\x00'"),
    "NUL": ("a: b\nc: x\0", r"line 2: .*'\\x00' is not allowed"),
    "escape codes": ('a: "\\e[31m"', r"a control character, .* in '\\x1b\[31m'"),
    "an empty tag": ("a: ! b", "a tag; expected none"),
    "a tag of Python": ("a: !!python/object/apply:os.system [ls]", "a tag; expected none"),
    "a tag that does not fit": ("a: !!int x", "a tag; expected none"),
    "a repeated key": ("a: {b: 1,\n b: 2}", "line 2: .*'b' is given twice"),
    "a repeated number": ("16: a\n0x10: b", "line 2: .*'0x10' is given twice"),
    "a list as a key": ("{[a]: 1}", "a list or mapping as a key; expected a name"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document in the stream, but found another document"),
    "a repeated anchor": ("- &a 1\n- &a 2", "line 2: .*found duplicate anchor 'a'"),
    "no YAML": ("a: [", "line 1: not valid YAML"),
}
LARGE_YAML = {  # that mean something, and must do so soon
    "digits of base 60": "a: 1" + ":59" * 90_000,
    "line ends": '"' + "\n" * (MAX_YAML - 2) + '"',
    "folded lines": "a: >\n" + " \n" * (MAX_YAML // 2 - 10) + " x",
}
HOSTILE_JSON = {
    "depth": ("[" * 100_000, "more than 30 values within each other"),
    "depth that Python bears": ("[" * 31 + "]" * 31, "more than 30 values"),
    "depth of objects": ('{"a": ' * 100_000, "more than 30 values"),
    "digits": ("9" * 5000, "a number of more than 100 digits"),
    "digits that Python bears": (f'{{"a": [{"9" * 101}]}}', "a number of more than 100 digits"),
    "half a letter": ('["\\ud800"]', r"half a letter, '\\ud800'"),
    "half a letter as a key": ('{"\\udc00": 1}', "half a letter"),
    "no JSON": ("{'a': 1}", "line 1 column 2"),
    "nothing": ("", "line 1 column 1"),
}
READ_ALL = f"""
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
from twinbench.protocols import text, yaml_text
parse = {{"yaml": yaml_text.parse_yaml, "json": text.parse_json}}[sys.argv[1]]
for name, content in json.load(sys.stdin).items():
    began, said = time.process_time(), ""
    try:
        parse(content, "FILE")
    except text.TextError as error:
        said = str(error)
    print(json.dumps([name, time.process_time() - began, said]), flush=True)
"""


def read_all(kind: str, texts: dict[str, str]) -> dict[str, tuple[float, str]]:
    """Read texts in a process with little memory; return seconds of computing and complaint (or none) of each."""
    command = [sys.executable, "-c", READ_ALL, kind]
    run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {name: (seconds, said) for name, seconds, said in lines}


@pytest.mark.parametrize(("kind", "cases"), [("yaml", HOSTILE_YAML), ("json", HOSTILE_JSON)])
def test_hostile_text_ends_in_one_line_soon(kind, cases):
    found = read_all(kind, {name: text for name, (text, _) in cases.items()})
    assert found.keys() == cases.keys()
    assert {name: seconds for name, (seconds, _) in found.items() if seconds > SECONDS} == {}
    for name, (_, words) in cases.items():
        said = found[name][1]
        with pytest.raises(UserError, match=words):
            raise UserError(said)
        assert said.startswith("FILE"), name
        assert said.isprintable(), name
        assert len(said) < 300, name


def test_large_text_is_read_soon():
    found = read_all("yaml", LARGE_YAML) | read_all("json", {"lists": "[" + "[]," * (MAX_BYTES // 3 - 1) + "[]]"})
    assert {name: said for name, (_, said) in found.items() if said} == {}
    assert {name: seconds for name, (seconds, _) in found.items() if seconds > SECONDS} == {}


def test_yaml_means_what_it_says():
    text = "a: &a {x: 1, y: -0.5}\nb: {<<: *a, y: 2}\nc: [true, ~, 0x10, 1_000, '1']\n3: >\n  two\n  lines\n"
    assert parse_yaml(text, "") == {
        "a": {"x": 1, "y": -0.5},
        "b": {"x": 1, "y": 2},
        "c": [True, None, 16, 1000, "1"],
        3: "two lines\n",
    }


def test_a_date_is_the_text_that_it_is_written_as():
    assert parse_yaml("[2024-01-01, 2024-99-99]", "") == ["2024-01-01", "2024-99-99"]


def test_a_time_is_the_text_that_it_is_written_as():
    """To YAML 1.1, 12:30 is 750."""
    assert parse_yaml("{begin: 12:30, end: 1:30:00.5}", "") == {"begin": "12:30", "end": "1:30:00.5"}


def test_a_merged_mapping_may_be_merged_again_before_it_is_built():
    assert parse_yaml("x: {y: &a {<<: {k: 1}, k: 2}}\nb: {<<: *a}", "") == {"x": {"y": {"k": 2}}, "b": {"k": 2}}


def test_an_alias_that_nothing_has_the_name_of():
    with pytest.raises(TextError, match=r"^FILE, line 2: not valid YAML: found undefined alias 'b'$"):
        parse_yaml("a: 1\nc: *b", "FILE")


def test_json_means_what_it_says():
    content = {"a": [1, -2.5, None, True, "é", "😀", 10**99]}
    assert parse_json(json.dumps(content), "") == content  # the last letter as a whole pair of UTF-16


def test_depth_at_the_bound_is_read():
    nested = "[" * 30 + "]" * 30
    assert parse_yaml(nested, "") == parse_json(nested, "") == json.loads(nested)


def test_what_is_no_file_of_text_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        "pipe": "not a file",
        ".": "not a file",
        "none": "No such file",
        "loop": "Too many levels",
        "bytes": "is no text file; expected UTF-8",
        "huge": f"{1 << 40} bytes; expected {MAX_BYTES} at most",
    }
    for name, words in cases.items():
        with pytest.raises(TextError, match=f"{words}.*; write it anew$"):
            read_text(tmp_path / name, "write it anew")


def test_the_mark_of_windows_editors_is_no_part_of_a_text(tmp_path):
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x") == read_yaml(tmp_path / "x", "") == {"a": 1}


def test_a_message_is_short_whatever_it_quotes():
    message = str(UserError("suite.yaml: " + "x" * 1_000_000 + "; expected a name"))
    assert len(message) < LONGEST + 10
    assert message.startswith("suite.yaml: ")
    assert message.endswith("; expected a name")


def test_damaged_records_of_ours_count_as_lost(tmp_path):
    """What other processes wrote may be damaged in any way; a suite's table and status go on without it."""
    from twinbench.report.files import find
    from twinbench.runtime.progress import read_log
    from twinbench.suite.record import read_record

    seed = tmp_path / "a" / "p" / "seed0"
    seed.mkdir(parents=True)
    (seed / "job.log").touch()
    for damage in ("[" * 100_000, '{"state": "\\ud800"}', "9" * 5000, "", "\xff"):
        (seed / "job.json").write_text(damage, encoding="latin-1")
        assert read_record(seed) is None
        assert [absent.reason for absent in find([tmp_path]).absent] == ["not finished"]
        (seed / "log.jsonl").write_text(f'{{"epoch": 1}}\n{damage}\n', encoding="latin-1")
        assert next(iter(read_log(seed / "log.jsonl"))) == {"epoch": 1}
        assert len(list(read_log(seed / "log.jsonl"))) == 1


@pytest.mark.parametrize("hidden", ["]" * 40, r"\"" + "]" * 40, r"\\", r"\\\"]]]]", r"\u005d", "{[", "ü]"])
def test_what_strings_hold_hides_no_depth_and_makes_none(hidden):
    deep = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    with pytest.raises(TextError, match=f"more than {MAX_DEPTH} values within each other"):
        parse_json(f'["{hidden}", {deep}, "{hidden}"]', "x")
    assert parse_json(f'["{hidden}", [1.5], "{hidden}"]', "x")[1] == [1.5]


def test_digits_of_a_string_and_of_a_fraction_are_no_long_number():
    digits = "7" * (MAX_DIGITS + 1)
    assert parse_json(f'["{digits}", 0.{digits}]', "x")[0] == digits
    with pytest.raises(TextError, match="a number of more than"):
        parse_json(f"[{digits}]", "x")
