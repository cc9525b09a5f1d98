"""The page over results that are still coming: who is answered, with what, and how often it is made."""

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

import twinbench
from twinbench.report.serve import RENDER_EVERY, Handler, Live, Server


@pytest.fixture
def results(write, tmp_path):
    write(tmp_path, "barlow", "voc07-svm", [86.0])
    return tmp_path


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(results, clock):
    made = []

    def render(edition):
        made.append(edition)
        return f"<p>page {len(made)}</p>"

    return Live([results], render, clock)


@pytest.fixture
def server(live):
    with Server(live, 0) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server, path, host=None, method="GET"):
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_it_listens_on_this_machine_only_and_answers_to_its_own_name_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/") == (200, "<p>page 1</p>")
    assert ask(server, "/", f"localhost:{server.server_port}")[0] == 200
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", "127.0.0.1:1"):
        status, body = ask(server, "/", host)
        assert status == 403
        assert "page 1" not in body
        assert f"expected {server.address}, through ssh -L by the same port" in body


@pytest.mark.parametrize("path", ["/report.py", "/../", "/barlow/", "/barlow/voc07-svm/seed0/result.json", "/?x"])
def test_no_file_and_no_folder_is_served(server, path):
    assert ask(server, path)[0] == 404


def test_nothing_but_get_is_understood(server):
    assert ask(server, "/", method="POST")[0] == 501


def test_a_reader_who_has_gone_is_no_error_and_whatever_else_goes_wrong_is_told(server, capsys):
    for error, words in ((BrokenPipeError("gone"), ""), (ConnectionResetError("gone"), ""), (KeyError("lost"), "lost")):
        try:
            raise error
        except (OSError, KeyError):
            server.handle_error(None, ("127.0.0.1", 1))
        assert words in capsys.readouterr().err if words else capsys.readouterr().err == ""


def test_a_connection_over_which_nothing_is_asked_is_closed(server, monkeypatch):
    assert Handler.timeout > 0
    monkeypatch.setattr(Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as idle:
        assert idle.recv(1) == b""


def test_the_page_is_made_anew_when_results_change_and_not_too_often(write, results, live, clock):
    _, page, edition = live.page()
    clock.now += 10 * RENDER_EVERY
    assert live.page() == (200, page, edition)  # nothing changed
    write(results, "random", "voc07-svm", [50.0])
    _, later, other = live.page()
    assert (later, other) == (page, edition)  # looked up just now
    clock.now += RENDER_EVERY
    _, later, other = live.page()
    assert later == "<p>page 2</p>"
    assert other != edition


@pytest.mark.parametrize(("name", "text"), [("job.log", "started"), ("failed", "out of memory")])
def test_a_trial_that_starts_or_fails_is_a_change(results, live, clock, name, text):
    folder = results / "random" / "voc07-svm" / "seed0"
    folder.mkdir(parents=True)
    live.page()
    (folder / name).write_text(text)
    clock.now += RENDER_EVERY
    assert live.page()[1] == "<p>page 2</p>"


def test_what_keeps_a_table_from_being_made_is_told_until_it_is_gone(results, clock):
    def render(edition):
        found = twinbench.table(twinbench.read_results([results]))
        return f"{len(found)} cells"

    live = Live([results], render, clock)
    file = next(results.rglob("result.json"))
    whole = file.read_text()
    file.write_text("{<b>")
    status, page, edition = live.page()
    assert status == 503
    assert str(file) in page
    assert "<b>" not in page
    file.write_text(whole)
    clock.now += RENDER_EVERY
    *answer, later = live.page()
    assert answer == [200, "1 cells"]
    assert later != edition
    results.rename(results.with_name("elsewhere"))
    clock.now += RENDER_EVERY
    status, _, last = live.page()
    assert status == 503
    assert last != later  # an open page is told, too


def test_the_command_serves_until_it_is_interrupted(results):
    command = [sys.executable, "-m", "twinbench", "report", str(results), "--serve"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        address = line.split()[1]
        with urllib.request.urlopen(address, timeout=20) as answer:
            page = answer.read().decode()
        assert "86.0" in page
        assert "connect-src 'self'" in page
        with urllib.request.urlopen(f"{address}edition", timeout=20) as answer:
            assert f'data-live="{answer.read().decode()}"' in page
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, rest, error) == (0, "", "twinbench report: no longer served\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--serve", "--out", "x"], "--out and --serve"),
        (["--serve", "--format", "csv"], "--format and --serve"),
        (["--serve", "--fail-below", "voc07-svm=1"], "--fail-below and --serve"),
        (["--serve", "--leaderboard", "me/probes"], "--leaderboard says nothing without --format hub"),
        (["--serve", "--same", "a=b"], "--same a=b: names a published row, and none is shown"),
        (["--serve", "--source", "MoCo"], "--source MoCo: is of published rows, and none is shown"),
        (["--serve", "--port", "70000"], "--port 70000: expected a number from 1 to 65535"),
        (["--port", "8000"], "--port 8000: nothing to listen for"),
    ],
)
def test_what_cannot_be_served_is_one_line(results, capsys, arguments, words):
    assert twinbench.main(["report", str(results), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_and_a_folder_that_is_not_there_are_one_line(results, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert twinbench.main(["report", str(results), "--serve", "--port", str(port)]) == 2
    assert f"--port {port}: cannot be listened on ({os.strerror(errno.EADDRINUSE)})" in capsys.readouterr().err
    assert twinbench.main(["report", str(results / "nothing"), "--serve"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
