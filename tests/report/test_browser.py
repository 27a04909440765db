"""The page in a real browser: no errors, nothing from outside, hostile names stay text."""

import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest
from PIL import Image

from context_rcnn.report.page import ReportOptions, write_report
from context_rcnn.report.results_page import ResultsOptions, write_results_report
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult
from tests.report.conftest import Page, write_photos
from tests.report.test_page import HOSTILE, hostile_inputs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no chromium on the path (Debian: apt-get install chromium)"
)
# What Chromium asks for by itself, whatever the page.
BROWSERS_OWN = re.compile(r"\b(google|googleapis|gstatic|gvt1)\.com(:443)?\b")
PAPER = {"light": (248, 246, 239), "dark": (20, 25, 22)}


class Proxy(http.server.ThreadingHTTPServer):
    """Takes note of all that the browser asks of the network, and answers nothing."""

    def __init__(self):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_CONNECT = do_POST = do_HEAD = do_GET

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def proxy():
    with Proxy() as server:
        yield server
        server.shutdown()


def browse(page, profile, proxy, *flags):
    """Opens a file; returns its document after loading, and the console's lines."""
    command = [
        CHROMIUM,
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
        f"--user-data-dir={profile}",
        f"--proxy-server=http://127.0.0.1:{proxy.server_port}",
        "--proxy-bypass-list=<-loopback>",
        *("--enable-logging=stderr", "--virtual-time-budget=5000", *flags),
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    console = re.findall(r".*CONSOLE.*", done.stderr.decode("utf-8", "replace"))
    return done.stdout.decode(), console


def test_the_browser_sees_errors_and_requests_where_there_are_some(tmp_path, proxy):
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://outside.invalid/x.png"><script>console.error("boo")</script>')
    _, console = browse(page, tmp_path / "profile", proxy, "--dump-dom")
    assert any("boo" in line for line in console)
    assert any("outside.invalid" in url for url in proxy.asked)


def test_a_report_of_hostile_names_is_quiet_and_stays_text(tmp_path, proxy):
    options = {**hostile_inputs(tmp_path), "output_dir": str(tmp_path / "out")}
    write_report(ReportOptions(**options))
    index = tmp_path / "out" / "index.html"
    dom, console = browse(index, tmp_path / "profile", proxy, "--dump-dom")
    assert console == []
    assert [url for url in proxy.asked if not BROWSERS_OWN.search(url)] == []
    page = Page(dom)
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs] and not page.all("script")
    assert HOSTILE[0] in page.text
    assert len(page.all("section")) == 9


def test_results_of_hostile_names_are_quiet_and_stay_text(tmp_path, proxy):
    name = "<img src=x onerror=alert(1)>"
    edges = [0.1, 0.2, 0.5, 0.6]
    file = f"{name}/{name}.jpg"
    header = Header(name, "0.1", "", {1: name}, "2026-05-26T19:11:27Z")
    with JournalWriter(tmp_path / "state/journal.jsonl", header) as journal:
        found = (Detection(tuple(edges), 1, 0.9),)
        journal.append(ImageResult(file, file, name, 1380893513, 40, 30, detections=found))
        journal.append(ImageResult(f"b{file}", failure="truncated", failure_text=name))
    detection = {"box": edges, "class": name, "score": 0.9}
    entry = {"image_id": file, "seconds": 0, "seconds_apart": 60, "box": edges, "weight": 0.5}
    line = {"image_id": file, "camera": name, "seconds": 1380893513}
    line["detections"] = [detection | {"attention": [entry]}]
    line["without_memory"] = [detection]
    (tmp_path / "state/explained.jsonl").write_text(json.dumps(line))
    write_results_report(ResultsOptions(str(tmp_path / "state"), str(tmp_path / "out")))
    dom, console = browse(tmp_path / "out/index.html", tmp_path / "profile", proxy, "--dump-dom")
    assert console == []
    assert [url for url in proxy.asked if not BROWSERS_OWN.search(url)] == []
    page = Page(dom)
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs] and not page.all("script")
    assert f"{name} 0.90" in page.text and f"without memory: {name} 0.90" in page.text
    assert len(page.all("article")) == 1 and file in page.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_in_light_and_dark_with_its_images(tmp_path, runs, proxy, scheme):
    memory, baseline = runs
    photos = write_photos(tmp_path / "photos", "abc")
    options = {"evaluation": memory, "baseline": baseline, "image_root": photos}
    write_report(ReportOptions(output_dir=str(tmp_path / "out"), **options))
    shot = tmp_path / "shot.png"
    browse(
        tmp_path / "out" / "index.html",
        tmp_path / "profile",
        proxy,
        *(f"--screenshot={shot}", "--window-size=1200,5000"),
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
    )
    with Image.open(shot) as image:
        picture = image.convert("RGB")
    assert picture.getpixel((3, 3)) == PAPER[scheme]
    # The photographs' greens, which nothing else on the page has.
    colours = picture.getcolors(1 << 24)
    photographed = [n for n, (r, g, b) in colours if abs(g - 90) < 4 and abs(b - 60) < 4 and r < 90]
    assert sum(photographed) > 10_000
