"""The page in a real browser: Chromium, headless, spoken to through chromedriver's HTTP interface."""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report import html
from twinbench.report.beside import Options
from twinbench.report.result import Result
from twinbench.report.serve import Live, Server
from twinbench.report.table import read

RIGHT, DOWN, ESCAPE = "\ue014", "\ue015", "\ue00c"  # WebDriver's names of keys
HOSTILE = "<img src=x onerror=\"document.title='obeyed'\"><script>document.title='obeyed'</script>"


class Browser:
    """The little of WebDriver that is needed here."""

    def __init__(self, port, **more):
        self.base = f"http://127.0.0.1:{port}"
        options = {
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--window-size=1300,1000",
            ],
            **more,
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self.send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{answer['sessionId']}"

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script, *arguments):
        return self.send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def open(self, address):
        self.send("POST", "/url", {"url": address})

    def complaints(self):
        return [entry["message"] for entry in self.send("POST", "/se/log", {"type": "browser"})]

    def picture(self, path):
        Path(path).write_bytes(base64.b64decode(self.send("GET", "/screenshot")))

    def press(self, key):
        actions = [
            {"type": "key", "id": "keys", "actions": [{"type": way, "value": key} for way in ("keyDown", "keyUp")]}
        ]
        self.send("POST", "/actions", {"actions": actions})

    def tip(self):
        return self.run("const tip = document.getElementById('tip'); return tip.hidden ? null : tip.textContent")

    def method_order(self):
        script = "return [...document.querySelectorAll('#comparison tbody tr')].filter(r => !r.hidden)"
        return self.run(f"{script}.map(r => r.cells[0].textContent.trim())")


@pytest.fixture(scope="module")
def driver_port():
    if not (shutil.which("chromedriver") and shutil.which("chromium")):
        assert not os.environ.get("CI"), "CI must install chromium and chromium-driver"
        pytest.skip("no chromium with chromedriver on this machine")
    process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                yield int(found[1])
                break
        else:
            pytest.fail("chromedriver did not start")
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def session(driver_port):
    found = Browser(driver_port)
    yield found
    found.send("DELETE", "")


@pytest.fixture
def browser(session):
    session.complaints()  # those of the test before
    return session


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Three methods on three tasks, one of them hostile by name, with curves, a picture and published rows."""
    root = tmp_path_factory.mktemp("results")
    numbers = {"barlow-twins": (86.2, 73.0, 56.9), "random": (50.1, 5.0, None), HOSTILE: (70.4, 74.1, 40.2)}
    names = ("voc07-svm", "imagenet-linear", "voc0712-frcnn-c4")
    for row, (method, values) in enumerate(numbers.items()):
        for name, value in zip(names, values, strict=True):
            protocol = PROTOCOLS[name]
            for seed in range(3 if value else 0):
                folder = root / f"m{row}" / name / f"seed{seed}"
                Result(
                    protocol=name,
                    version=protocol.version,
                    fingerprint=protocol.fingerprint,
                    method=method,
                    seed=seed,
                    metrics={protocol.metric: value + seed / 10},
                    headline=protocol.metric,
                    backbone_sha256=f"{row}" * 64,
                    architecture="resnet50",
                    data="complete",
                    data_sha256="d" * 64,
                    curves={"top1 by epoch": [[1, value / 2 + seed], [2, value]]},
                    pictures=["boxes.png"],
                    command=f"twinbench transfer {name} '{HOSTILE}'",
                    device="cpu",
                ).write(folder)
                Image.new("RGB", (64, 48), "teal").save(folder / "boxes.png")
    path = root / "report.html"
    path.write_text(html.render(read([root], Options(published=True, baseline="random")), title=HOSTILE))
    return path.as_uri()


def test_the_page_runs_without_a_complaint_and_obeys_no_text(browser, page):
    browser.open(page)
    assert browser.run("return document.title") == HOSTILE
    assert browser.complaints() == []
    assert browser.run("return document.images.length") == browser.run(
        "return [...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
    )


def test_injected_scripts_would_be_refused(browser, page):
    """Should escaping ever fail, the content security policy stands behind it."""
    browser.open(page)
    browser.run(
        "const s = document.createElement('script'); s.text = \"document.title = 'obeyed'\"; document.body.append(s)"
    )
    assert browser.run("return document.title") == HOSTILE
    assert any("Content Security Policy" in text for text in browser.complaints())


def test_a_click_on_a_header_sorts_and_missing_numbers_stay_below(browser, page):
    browser.open(page)
    first = browser.method_order()
    click = "document.querySelectorAll('#comparison thead button')[arguments[0]].click()"
    browser.run(click, 2)
    descending = browser.method_order()
    assert descending.index(HOSTILE) < descending.index("barlow-twins") < descending.index("random")
    browser.run(click, 2)
    ascending = browser.method_order()
    assert ascending.index("random") < ascending.index("barlow-twins") < ascending.index(HOSTILE)
    for _ in ("descending", "ascending"):
        browser.run(click, 3)
        numbers = browser.run(
            "return [...document.querySelectorAll('#comparison tbody tr')].map(r => r.cells[3].dataset.value ?? null)"
        )
        assert None in numbers[1:]
        assert set(numbers[numbers.index(None) :]) == {None}
    browser.run(click, 3)
    assert browser.method_order() == first
    browser.run(click, 0)
    names = [label.lower() for label in browser.method_order()]
    assert names == sorted(names, reverse=True)


def test_the_page_comes_best_first_and_a_rank_sorts_from_the_lowest(browser, page):
    browser.open(page)
    assert [name for name in browser.method_order() if "published" not in name] == ["barlow-twins", HOSTILE, "random"]
    at = browser.run(
        "return [...document.querySelectorAll('#comparison th[scope=col]')].findIndex(h => h.dataset.best)"
    )
    browser.run("document.querySelectorAll('#comparison thead button')[arguments[0]].click()", at)
    sorted_as = "return document.querySelectorAll('#comparison th[scope=col]')[arguments[0]].getAttribute('aria-sort')"
    assert browser.run(sorted_as, at) == "ascending"
    values = "return [...document.querySelectorAll('#comparison tbody tr')].map(r => r.cells[arguments[0]].textContent)"
    ranks = browser.run(values, at)
    assert ranks[:3] == sorted(ranks[:3])
    assert set(ranks[3:]) == {""}


def test_values_are_told_to_a_pointer_and_to_the_keyboard(browser, page):
    browser.open(page)
    place = """const found = document.querySelector('.overview .value'), box = found.getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2].map(Math.round)"""
    x, y = browser.run(place)
    move = {"type": "pointerMove", "duration": 0, "x": x, "y": y}
    browser.send("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})
    assert browser.tip() == "random: 50.2 ±0.1 (3)"
    browser.run("document.querySelector('figure.chart[data-x]').focus()")
    browser.press(RIGHT)
    assert browser.tip() == "barlow-twins, epoch 1: 44.1 ±1"  # half of 86.2, and the seed's number more
    browser.press(RIGHT)
    assert browser.tip() == "barlow-twins, epoch 2: 86.2"
    assert browser.run("return document.activeElement.getAttribute('aria-label')") == browser.tip()
    browser.press(DOWN)
    assert browser.tip() == f"{HOSTILE}, epoch 2: 70.4"
    browser.press(ESCAPE)
    assert browser.tip() is None
    assert browser.complaints() == []


def test_the_page_can_be_dark_whatever_the_system_says(browser, page):
    browser.open(page)
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = browser.run(ground)
    browser.run("document.getElementById('theme').click()")
    assert {before, browser.run(ground)} == {"rgb(255, 255, 255)", "rgb(13, 17, 23)"}


def test_a_column_leads_to_its_recipe_with_sources_and_commands(browser, page):
    browser.open(page)
    browser.run("document.querySelector('#comparison a.how').click()")
    told = browser.run("return document.querySelector('details.recipe[open]').innerText")
    assert "twinbench protocols voc07-svm" in told
    assert "twinbench transfer voc07-svm BACKBONE DATA OUT" in told
    assert "VISSL svm_trainer.py: class_weight {1: 2, -1: 1}" in told
    assert told.count("copy") == 2


def test_filters_hide_rows_and_columns(browser, page):
    browser.open(page)
    fill = (
        "const i = document.getElementById(arguments[0]); i.value = arguments[1]; i.dispatchEvent(new Event('input'))"
    )
    browser.run(fill, "filter-rows", "BARLOW")
    assert browser.method_order() == ["barlow-twins", "Barlow Twins, published"]
    browser.run(fill, "filter-columns", "svm")
    visible = "return [...document.querySelectorAll('#comparison thead th')].filter(h => h.offsetWidth).length"
    assert browser.run(visible) == 2
    assert "2 of" in browser.run("return document.getElementById('shown').textContent")
    browser.run(fill, "filter-rows", "")
    browser.run(fill, "filter-columns", "")
    assert len(browser.method_order()) > 3


def test_a_cell_opens_its_trials_with_command_curves_and_recipe(browser, page, tmp_path):
    browser.open(page)
    browser.run("document.querySelector('#comparison tbody a.open').click()")
    assert browser.run("return document.getElementById('cell').open")
    inside = browser.run("return document.getElementById('cell').textContent")
    assert "barlow-twins on voc07-svm, mAP: 86.3 ±0.1 (3)" in inside
    assert f"twinbench transfer voc07-svm '{HOSTILE}'" in inside
    assert "code unknown; device cpu" in inside  # the environment itself, not only its number
    assert "mAP 86.400" in inside
    assert "ignored_in_training" in inside
    assert browser.run("return document.querySelectorAll('#cell figure').length") == 1
    browser.picture(tmp_path / "cell.png")
    colors = Image.open(tmp_path / "cell.png").convert("L").getextrema()
    assert colors[1] - colors[0] > 100  # something is drawn
    browser.run("document.querySelector('#cell button').click()")
    assert not browser.run("return document.getElementById('cell').open")
    assert browser.complaints() == []


def test_an_address_with_a_cell_opens_it(browser, page):
    browser.open("about:blank")  # so that the page is loaded anew
    browser.open(f"{page}#c0-0")
    assert browser.run("return document.getElementById('cell').open")


def test_a_phone_shows_the_page_without_sideways_scrolling(driver_port, page):
    phone = Browser(driver_port, mobileEmulation={"deviceMetrics": {"width": 360, "height": 800, "pixelRatio": 1}})
    try:
        phone.open(page)
        assert phone.run("return window.innerWidth") == 360
        assert phone.run("return document.documentElement.scrollWidth") == 360
        phone.run("document.querySelector('#comparison tbody a.open').click()")
        assert phone.run("return document.getElementById('cell').getBoundingClientRect().right") <= 360
    finally:
        phone.send("DELETE", "")


def test_a_live_page_loads_itself_anew_and_comes_back_as_it_was(browser, write, tmp_path):
    write(tmp_path, "a", "voc07-svm", [50.0])
    write(tmp_path, "b", "voc07-svm", [60.0])
    paces = itertools.count(0, 60)  # each look is a minute after the last
    live = Live([tmp_path], lambda edition: html.render(read([tmp_path]), live=edition), lambda: next(paces))
    with Server(live, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            browser.open(server.address)
            click = "document.querySelectorAll('#comparison thead button')[1].click()"
            browser.run(f"{click}; {click}; document.getElementById('theme').click()")
            theme = browser.run("return document.documentElement.dataset.theme")
            assert browser.method_order() == ["a", "b"]  # the lowest first, as asked
            browser.run("document.querySelector('#trials details').open = true")
            write(tmp_path, "c", "voc07-svm", [40.0])
            until = time.monotonic() + 30
            while len(browser.method_order()) < 3 and time.monotonic() < until:
                time.sleep(0.2)
            assert browser.method_order() == ["c", "a", "b"]
            assert browser.run("return document.documentElement.dataset.theme") == theme
            assert browser.run("return document.querySelector('#trials details').open")
            assert browser.complaints() == []
        finally:
            server.shutdown()
            thread.join()
    browser.open("about:blank")
