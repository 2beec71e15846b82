"How this project opens its own pages: Debian's chromium without a screen, and a folder served on this machine only."
import contextlib
import functools
import http.server
import shutil
import threading
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") # None where there is none
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
# Run in a page, it collects in `waits` how long the page kept anybody waiting, milliseconds: between two frames, and in long tasks.
WATCH = """window.waits = [0]; new PerformanceObserver(list => waits.push(...list.getEntries().map(entry => entry.duration))).observe({ type: "longtask" });
let last = performance.now(); requestAnimationFrame(function look() { waits.push(performance.now() - last); last = performance.now(); requestAnimationFrame(look); });"""


@contextlib.contextmanager
def served(folder: Path):
    "The address of a folder."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{server.server_port}"
    finally: server.shutdown()
