"Open this project's own pages: Debian's Chromium without a screen, and a folder served on this machine only."
import contextlib
import functools
import http.server
import shutil
import threading
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") # None if not installed
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
# Run in a page, this collects in `waits` how long the page was blocked, in ms: between two frames, and in long tasks.
WATCH = """window.waits = [0];
new PerformanceObserver(list => waits.push(...list.getEntries().map(entry => entry.duration)))
    .observe({ type: "longtask" });
let last = performance.now();
requestAnimationFrame(function look() {
    waits.push(performance.now() - last);
    last = performance.now();
    requestAnimationFrame(look);
});"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass


@contextlib.contextmanager
def served(folder: Path):
    "Serve a folder; gives its address."
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{server.server_port}"
    finally: server.shutdown()
