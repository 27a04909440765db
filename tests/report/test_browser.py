"""The page in a real browser: no errors, nothing from outside, hostile names stay text."""

import html
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
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
    assert page.all("script") == [{}]
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
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
    assert page.all("script") == [{}]
    assert f"{name} 0.90" in page.text and f"without memory: {name} 0.90" in page.text
    assert len(page.all("article")) == 1 and file in page.text


CLICKS = """
const table = document.querySelector("#cameras table");
const read = (column) => Array.from(table.tBodies[0].rows)
  .filter((row) => !row.hidden).map((row) => row.cells[column].textContent.trim());
const click = (column) => table.tHead.rows[0].cells[column].querySelector("button").click();
const said = { before: read(0) };
click(1); said.most = read(1); said.sort = table.querySelector("[aria-sort]").ariaSort;
click(1); said.fewest = read(1);
click(0); said.names = read(0);
click(5); said.dates = read(5);
const field = document.querySelector("#cameras .filter input");
field.value = "Camera 1"; field.dispatchEvent(new Event("input"));
said.left = read(0); said.status = document.querySelector("#cameras [role=status]").textContent;
field.value = ""; field.dispatchEvent(new Event("input"));
said.all = read(0).length;
said.buttons = document.querySelectorAll("#activity thead button").length;
const out = document.createElement("pre");
out.id = "said"; out.textContent = JSON.stringify(said);
document.body.append(out);
"""


def test_tables_sort_and_filter(tmp_path, proxy):
    """Eleven cameras; one has 1,200 images, and one no dated image."""
    header = Header("m", "1", "", {1: "fox", 2: "deer"}, "2026-05-26T19:11:27Z")
    counts = [3, 1200, 20, 1, 2, 4, 5, 6, 7, 8, 9]
    with JournalWriter(tmp_path / "journal.jsonl", header) as journal:
        for camera, count in enumerate(counts):
            for i in range(count):
                seconds = None if camera == 4 else 1380893513 + camera * 86400
                species = 2 if camera == 3 else 1
                found = (Detection((0.1, 0.1, 0.5, 0.5), species, 0.9),) if i == 0 else ()
                name = f"{camera}/{i}.jpg"
                journal.append(
                    ImageResult(name, name, f"camera {camera}", seconds, 8, 8, detections=found)
                )
    write_results_report(ResultsOptions(str(tmp_path), str(tmp_path / "out"), max_examples=0))
    index = tmp_path / "out/index.html"
    text = index.read_text()
    policy = re.search(r"<meta http-equiv[^>]*>", text).group()
    script = f"<script>{CLICKS}</script></body>"
    index.write_text(text.replace(policy, "").replace("</body>", script))
    dom, console = browse(index, tmp_path / "profile", proxy, "--dump-dom")
    assert console == []
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', dom).group(1)))
    assert said["before"] == sorted(f"camera {i}" for i in range(11))
    assert said["most"] == [f"{n:,}" for n in sorted(counts, reverse=True)]
    assert said["sort"] == "descending" and said["fewest"] == said["most"][::-1]
    assert said["names"] == [f"camera {i}" for i in range(11)], "2 comes before 10"
    assert said["dates"][0] == "2013-10-04" and said["dates"][-1] == "", "the unknown is last"
    assert said["left"] and set(said["left"]) == {"camera 1", "camera 10"}
    assert (said["status"], said["all"]) == ("2 of 11 rows", 11)
    assert said["buttons"] == 4, "columns of bars are not sorted"


def test_a_script_that_is_not_the_pages_own_does_not_run(tmp_path, proxy):
    with JournalWriter(
        tmp_path / "journal.jsonl", Header("m", "1", "", {1: "fox"}, "2026-05-26T19:11:27Z")
    ) as journal:
        journal.append(ImageResult("a.jpg", width=8, height=8))
    write_results_report(ResultsOptions(str(tmp_path), str(tmp_path / "out")))
    index = tmp_path / "out/index.html"
    strange = "<script>document.title = 'run'</script></body>"
    index.write_text(index.read_text().replace("</body>", strange))
    dom, console = browse(index, tmp_path / "profile", proxy, "--dump-dom")
    assert "<title>run</title>" not in dom and any("Content Security" in line for line in console)


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
