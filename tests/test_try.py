"The page that enlarges the reader's own picture, in a browser: the same pixels as `Upscaler`, nothing sent, nothing stuck."
import io
import re
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from conftest import HAS_RUNTIME, HERE, ROOT, disc, needs_chromium, patient
from headless import CHROMIUM, FLAGS, WATCH
from srgan_nb import Generator, Upscaler
from srgan_nb.data import sample_photos
from srgan_nb.inference import halo, render_halo, tile_shape, tiles
from srgan_nb.utils import enlarge, open_photo, photo_to_tensor, to_8bit

pytestmark = [needs_chromium, pytest.mark.skipif(not HAS_RUNTIME, reason="SRGAN_NODE_MODULES does not name a folder with the pinned onnxruntime-web (python tools/try_assets.py --package)")]
HOME_ONLY = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
EMULATED_GPU = [flag for flag in FLAGS if flag != "--disable-gpu"] + ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]


class Try:
    "The page, and hands to use it."
    def __init__(self, context, address, query=""):
        self.page, self.requests, self.complaints = patient(context).new_page(), [], []
        context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.address = f"{address}/try.html{query}"

    def open(self): self.page.goto(self.address, wait_until="load"); return self
    def text(self, name): return self.page.locator(f".try-{name}").inner_text()

    def take(self, picture, name="photo.png", **options):
        "Choose a file made of `picture`, an `Image` or bytes."
        if isinstance(picture, Image.Image): picture = encoded(picture, name, **options)
        self.page.locator("#srgan-try input[type=file]").set_input_files(dict(name=name, mimeType="image/" + name.split(".")[1], buffer=picture))
        return self

    def enlarge(self, method="srgan"):
        self.page.locator(".try-settings").wait_for()
        self.page.locator(f"input[value={method}]").check()
        self.page.locator(".try-go").click()
        return self

    def result(self):
        "The finished picture, as it is downloaded (a browser writes all PNGs with transparency): RGB where it is solid."
        self.page.wait_for_function("/^Done/.test(document.querySelector('.try-status').textContent) || document.querySelector('.try-complaint').textContent", timeout=600_000)
        assert self.text("complaint") == ""
        with self.page.expect_download() as download: self.page.locator(".try-save").click()
        image = Image.open(download.value.path())
        return image.convert("RGB") if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255) else image


def encoded(picture, name, **options):
    buffer = io.BytesIO()
    picture.save(buffer, dict(jpg="JPEG").get(name.split(".")[1], name.split(".")[1].upper()), **options)
    return buffer.getvalue()


def distances(a, b, where=True): return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int))[where]
def farthest(a, b, where=True): return distances(a, b, where).max()

def stored(picture):
    "An RGBA picture as a browser's canvas keeps it: colours multiplied with transparency, in 8 bits."
    *colours, alpha = np.moveaxis(np.asarray(picture).astype(float), -1, 0)
    multiplied = np.floor(np.stack(colours) * alpha / 255 + 0.5)
    return Image.fromarray(np.stack([*np.floor(multiplied * 255 / alpha.clip(1) + 0.5), alpha], -1).clip(0, 255).astype(np.uint8))


@pytest.fixture
def studio(browser, address):
    "The page in a context of its own."
    context = browser.new_context(viewport=dict(width=1280, height=1000), accept_downloads=True)
    yield Try(context, address).open()
    context.close()


@pytest.fixture
def launch(browser, address):
    "The page in a browser with other flags."
    others = []
    def start(flags, query=""):
        others.append(browser.browser_type.launch(executable_path=CHROMIUM, args=flags))
        return Try(others[-1].new_context(), address, query)
    yield start
    for other in others: other.close()


def upscaler(name): return Upscaler.from_pretrained(name, **HERE)


def photo(name, box): return sample_photos()[name].crop(box)


def module(studio, name, call): return studio.page.evaluate(f"async () => {{ const all = await import('./try/{name}.js'); return ({call})(all); }}")


def test_boxes_are_pythons(studio):
    "The same tiles for any size, and the margins of both networks that ship."
    for name in ("srgan", "srresnet"): assert module(studio, "tiles", "all => [all.HALO, all.RENDER_HALO, all.SCALE]") == [halo(g := Generator.from_pretrained(name)), render_halo(g), g.scale]
    for height, width, pixels in [(1, 1, 1), (97, 131, 12000), (300, 300, 90000), (301, 300, 90000), (1024, 1024, 90000), (17, 4096, 90000), (640, 427, 20000)]:
        shape = tile_shape(height, width, pixels, 40)
        assert module(studio, "tiles", f"all => all.tileShape({height}, {width}, {pixels}, 40)") == list(shape)
        found = module(studio, "tiles", f"all => [...all.tiles({height}, {width}, {list(shape)}, 40)]")
        assert found == [[list(inner), list(outer)] for inner, outer in tiles(height, width, shape, 40)]


def test_strips_cover_the_picture_once_and_see_enough(studio):
    "Each pixel lies in one strip; each strip's surroundings lie in what the first half has seen, the network's whole margin away from its cut edges."
    for height, width, pixels in [(1, 1, 90000), (97, 131, 12000), (700, 333, 90000), (5, 4000, 90000)]:
        covered = np.zeros((height, width), int)
        for task in module(studio, "tiles", f"all => all.plan({height}, {width}, {pixels})"):
            outer = task["outer"]
            for (top, bottom, left, right), seen in task["strips"]:
                covered[top:bottom, left:right] += 1
                assert seen == [max(top - 3, 0), min(bottom + 3, height), max(left - 3, 0), min(right + 3, width)]
                assert outer[0] <= max(top - 40, 0) and outer[1] >= min(bottom + 40, height) and outer[2] <= max(left - 40, 0) and outer[3] >= min(right + 40, width)
        assert (covered == 1).all()


@pytest.mark.parametrize("size", [(4 * 37, 4 * 23), (9, 7), (1, 1), (37, 5)])
def test_bicubic_is_ours(studio, size):
    "Enlarged four times: `enlarge`. To any size, smaller too: the kernel `degrade` has."
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (23, 37, 4), dtype=torch.uint8)
    found = module(studio, "pixels", f"all => [...all.resize({{ width: 37, height: 23, data: new Uint8ClampedArray({pixels.flatten().tolist()}) }}, {size[0]}, {size[1]}).data]")
    x = pixels.permute(2, 0, 1)[None] / 255
    expected = enlarge(x) if size[0] == 4 * 37 else F.interpolate(x, size[::-1], mode="bicubic", antialias=True)
    assert farthest(np.array(found).reshape(size[1], size[0], 4), to_8bit(expected)[0].permute(1, 2, 0).mul(255).round()) == 0


@pytest.mark.parametrize("name", ["srgan", "srresnet"])
def test_a_sample_is_what_python_makes(studio, site, name):
    studio.page.locator("[data-sample=motorcycle]").click()
    found = studio.enlarge(name).result()
    assert farthest(found, upscaler(name)(site / "try/samples/motorcycle.png")) <= 1


def test_tiles_leave_no_seams(launch):
    "131 x 97 pixels in twenty tiles."
    studio, picture = launch(FLAGS, "?pixels=12000"), photo("chelsea", (103, 51, 234, 148))
    assert farthest(studio.open().take(picture).enlarge().result(), upscaler("srgan")(picture)) <= 1


@pytest.mark.parametrize("name, picture, options", [
    ("grey.jpg", photo("coffee", (200, 100, 241, 133)).convert("L"), {}),
    ("turned.jpg", photo("astronaut", (200, 100, 241, 133)), "EXIF"),
    ("palette.png", photo("rocket", (300, 100, 341, 133)).quantize(30), {}),
    ("lossless.webp", photo("coffee", (200, 100, 233, 131)), dict(lossless=True)),
    ("dot.png", Image.new("RGB", (1, 1), (200, 30, 90)), {}),
], ids=lambda value: value if isinstance(value, str) and "." in value else "")
def test_kinds_of_files(studio, name, picture, options):
    "Grey stays grey, photographs stand upright, palettes are colours."
    if options == "EXIF": exif = Image.Exif(); exif[0x0112] = 6; options = dict(exif=exif)
    file = encoded(picture, name, **options)
    found, expected = studio.take(file, name).enlarge().result(), upscaler("srgan")(open_photo(io.BytesIO(file)))
    assert found.size == expected.size and farthest(found, expected.convert("RGB")) <= 1


def test_transparency(studio):
    "Enlarged by bicubic, as in Python; colours are Python's, of what the browser keeps of the picture, to within 8 levels where little shines through."
    picture = photo("coffee", (200, 100, 241, 133)).convert("RGBA")
    picture.putalpha(Image.fromarray(np.repeat(np.linspace(0, 255, 41).round().astype(np.uint8)[None], 33, 0)))
    found, expected = studio.take(picture).enlarge().result(), upscaler("srgan")(stored(picture))
    assert "with transparency" in studio.page.locator(".try-chosen").inner_text() and found.mode == "RGBA"
    assert farthest(found.getchannel("A"), expected.getchannel("A")) <= 1
    solid = np.asarray(expected.getchannel("A")) > 200
    assert farthest(found.convert("RGB"), expected.convert("RGB"), solid) <= 8
    assert distances(found.convert("RGB"), expected.convert("RGB"), solid).mean() < 0.8


def test_edges_beside_nothing_are_pythons(studio):
    "A disc on a ground that does not show: its colour is spread over the same places."
    found, expected = np.asarray(studio.take(disc(40, 15)).enlarge().result()), np.asarray(upscaler("srgan")(disc(40, 15)))
    assert farthest(found[..., 3], expected[..., 3]) <= 20 # Pillow clips between its two passes
    shown = (expected[..., 3] > 100) & (found[..., 3] > 100)
    assert farthest(found[..., :3], expected[..., :3], shown) <= 8 and found[shown][:, 0].min() > 220


def test_edges_of_a_smaller_copy_do_not_darken(studio):
    studio.take(disc(256, 100)).page.locator(".try-settings").wait_for()
    studio.page.locator("select").select_option(label="128 × 128")
    found = np.asarray(studio.enlarge("bicubic").result())
    half = (found[..., 3] > 64) & (found[..., 3] < 192)
    assert half.any() and found[half][:, 0].min() > 230


def test_a_missing_worker_is_told(studio):
    "At once, and what comes after it is there again works."
    studio.page.route("**/try/worker.js", lambda route: route.abort())
    studio.page.reload()
    studio.take(Image.new("RGB", (3, 2)))
    studio.page.wait_for_function("document.querySelector('.try-complaint').textContent", timeout=300_000)
    assert "could not be loaded" in studio.text("complaint")
    studio.page.unroute("**/try/worker.js")
    assert studio.take(Image.new("RGB", (3, 2))).enlarge("bicubic").result().size == (12, 8)


def test_long_pictures_are_told_their_side(studio):
    studio.take(Image.new("L", (5000, 200))).page.locator(".try-settings").wait_for()
    assert studio.page.locator("select option").all_inner_texts()[0] == "4096 × 164" and "longest side has 5000 pixels; at most 4096" in studio.text("advice")


def test_large_files_are_read_in_bands(studio):
    "20 megapixels are more than a phone's canvas holds: no row is lost or doubled."
    picture = Image.fromarray(np.arange(4000, dtype=np.uint16)[:, None].repeat(5000, 1).astype(np.uint8))
    studio.take(picture).page.locator(".try-settings").wait_for()
    studio.page.locator("select").select_option(label="128 × 102")
    found, expected = studio.enlarge("bicubic").result(), to_8bit(F.interpolate(photo_to_tensor(picture)[None], (102, 128), mode="bicubic", antialias=True))
    assert farthest(found, to_8bit(enlarge(expected))[0].permute(1, 2, 0).mul(255).round()) <= 1


def test_nothing_leaves_nothing_waits(launch):
    "Requests go to this machine only, the network's among them, and the second run needs none; no message on the console; the page is never stuck for as long as the network computes."
    studio, stuck = launch(FLAGS + HOME_ONLY).open(), []
    studio.page.wait_for_timeout(1000)
    studio.page.evaluate(WATCH)
    for _ in range(2):
        studio.page.evaluate("waits = [0]")
        began = time.perf_counter()
        studio.take(photo("astronaut", (100, 0, 221, 109))).enlarge().result()
        stuck.append(studio.page.evaluate("Math.max(...waits)") / 1000 / (time.perf_counter() - began))
        studio.page.context.set_offline(True)
    studio.take(photo("astronaut", (100, 0, 121, 19))).enlarge().result()
    assert [url for url in studio.requests if not re.match(r"http://127\.0\.0\.1[:/]|data:|blob:http://127", url)] == [] and studio.complaints == []
    assert any("srgan-features.onnx" in url for url in studio.requests) and any(".wasm" in url for url in studio.requests)
    assert min(stuck) < 0.5, f"the longest waits, as shares of the whole: {stuck}" # a busy machine slows both
    assert "one thread" in studio.text("backend")


NEW_ROWS = """() => { // for each row of the picture, whether the right canvas differs from the left
    const [before, after] = [...document.querySelectorAll("#srgan-try canvas")].map(canvas => { const copy = new OffscreenCanvas(804, 644).getContext("2d"); copy.drawImage(canvas, 0, 0); return copy.getImageData(0, 0, 804, 644).data; });
    return Array.from({ length: 644 }, (_, y) => before.subarray(3216 * y, 3216 * (y + 1)).some((value, i) => value !== after[3216 * y + i])); }"""


def test_it_fills_in_and_can_be_cancelled(studio):
    "From the top, strip by strip; cancelled at once, in the middle; and the next run is whole."
    studio.take(photo("coffee", (150, 80, 351, 241))).enlarge()
    studio.page.wait_for_function("document.querySelector('.try-progress progress').value > 0.7", timeout=300_000)
    new = studio.page.evaluate(NEW_ROWS)
    assert new[0] and not new[-1] and new == sorted(new, reverse=True) and re.match(r"\d+ %, about .* left", studio.text("progress").strip())
    studio.page.locator(".try-cancel").click(timeout=300_000)
    assert studio.text("status") == "Cancelled." and studio.page.locator(".try-save").is_disabled() and studio.page.locator(".try-go").is_enabled()
    studio.page.locator("select").select_option("128 × 103")
    assert studio.enlarge("bicubic").result().size == (512, 412)
    assert studio.complaints == []


def test_bicubic_needs_no_network(studio):
    studio.page.route("**/try/ort/**", lambda route: route.abort())
    picture = photo("coffee", (200, 100, 241, 133))
    found = studio.take(picture).enlarge("bicubic").result()
    assert farthest(found, to_8bit(enlarge(photo_to_tensor(picture)[None]))[0].permute(1, 2, 0).mul(255).round()) <= 1


def test_missing_network_is_told(studio):
    for name in ("ort", "models"): studio.page.route(f"**/try/{name}/**", lambda route: route.abort())
    studio.take(photo("coffee", (200, 100, 241, 133))).enlarge()
    studio.page.wait_for_function("document.querySelector('.try-complaint').textContent")
    assert "could not be loaded" in studio.text("complaint") and studio.page.locator(".try-go").is_enabled()


@pytest.mark.parametrize("name, data", [("notes.png", b"these are words"), ("empty.png", b""), ("half.png", encoded(Image.new("RGB", (9, 9)), "x.png")[:40])], ids=lambda value: value if isinstance(value, str) else "")
def test_unreadable_files_get_a_sentence(studio, name, data):
    "And no message on the console; what comes after is taken."
    studio.take(data, name)
    studio.page.wait_for_function("document.querySelector('.try-complaint').textContent")
    assert f"“{name}” cannot be read as a picture" in studio.text("complaint") and studio.complaints == []
    assert not studio.page.locator(".try-settings").is_visible()
    studio.take(Image.new("RGB", (3, 2))).page.locator(".try-settings").wait_for()
    assert studio.text("complaint") == ""


def test_large_pictures_are_offered_smaller(studio):
    "1.2 megapixels are more than is enlarged: only copies are on offer, and the first choice takes no more than a minute."
    studio.take(Image.new("L", (1200, 1000))).page.locator(".try-settings").wait_for()
    options = studio.page.locator("select option").all_inner_texts()
    assert options == ["1024 × 853", "768 × 640", "512 × 427", "256 × 213", "128 × 107"] and studio.page.locator("select").input_value() == "2"
    assert "at most 1.0 can be enlarged" in studio.text("advice")
    studio.page.locator("select").select_option("0")
    assert re.search(r"takes about \d+ minutes here and \d\.\d GB of memory; a smaller size is quicker", studio.text("advice"))


def test_too_large_files_are_refused(studio):
    studio.take(Image.new("1", (9000, 6000)))
    studio.page.wait_for_function("document.querySelector('.try-complaint').textContent")
    assert "has 54.0 megapixels. This page opens at most 50" in studio.text("complaint")


@pytest.mark.parametrize("kind, where", [("paste", "document"), ("drop", "document.querySelector('.try-drop')")])
def test_paste_and_drop(studio, kind, where):
    data = list(encoded(Image.new("RGB", (5, 4)), "x.png"))
    studio.page.evaluate(f"""() => {{ const bag = new DataTransfer(); bag.items.add(new File([new Uint8Array({data})], "given.png", {{ type: "image/png" }}));
        {where}.dispatchEvent("{kind}" === "paste" ? new ClipboardEvent("paste", {{ clipboardData: bag, bubbles: true }}) : new DragEvent("drop", {{ dataTransfer: bag, bubbles: true, cancelable: true }})); }}""")
    studio.page.locator(".try-settings").wait_for()
    assert "given.png, 5 × 4 pixels" in studio.page.locator(".try-chosen").inner_text()


def test_all_by_keyboard(studio):
    "Tab to a sample, to the button, to the line; each where the eye expects it."
    press, focus = studio.page.keyboard.press, lambda: studio.page.evaluate("[document.activeElement.localName, document.activeElement.innerText?.trim() ?? '']")
    studio.page.locator("#srgan-try input[type=file]").focus()
    press("Tab"); assert focus() == ["button", "Coffee"]
    press("Enter"); studio.page.locator(".try-settings").wait_for()
    while focus()[0] != "input": press("Tab")
    press("ArrowDown"); press("ArrowDown") # SRGAN, SRResNet, bicubic
    press("Tab"); assert focus()[0] == "select"
    press("Tab"); assert focus()[1] == "Enlarge four times"
    press("Enter"); studio.page.wait_for_function("/^Done/.test(document.querySelector('.try-status').textContent)")
    assert focus()[1] == "Enlarge four times"
    while focus()[0] != "img-comparison-slider": press("Tab")
    studio.page.keyboard.down("ArrowLeft"); studio.page.wait_for_timeout(400); studio.page.keyboard.up("ArrowLeft")
    assert studio.page.locator("img-comparison-slider").evaluate("element => element.value") < 45


def test_zoom_and_names(studio):
    studio.page.locator("[data-sample=rocket]").click()
    studio.enlarge("bicubic").result()
    view, slider = studio.page.locator(".try-view"), studio.page.locator("img-comparison-slider")
    studio.page.locator("[data-zoom='4']").click()
    assert slider.bounding_box()["width"] == 4 * 640 and view.evaluate("element => element.scrollWidth > element.clientWidth") and studio.page.locator("[data-zoom='4']").get_attribute("aria-pressed") == "true"
    assert abs(view.evaluate("element => element.scrollLeft + element.clientWidth / 2") - 1280) < 2, "the middle stays in the middle"
    assert view.get_attribute("tabindex") == "0" and "arrow keys" in view.get_attribute("aria-label")
    studio.page.locator("[data-zoom=fit]").click()
    assert view.get_attribute("tabindex") is None and slider.bounding_box()["width"] <= 640 and view.evaluate("element => element.scrollWidth <= element.clientWidth")
    with studio.page.expect_download() as download: studio.page.locator(".try-save").click()
    assert download.value.suggested_filename == "rocket-bicubic-x4.png"


@pytest.mark.parametrize("lost", [False, True], ids=["whole", "lost"])
def test_webgpu(launch, lost):
    "WebGPU, emulated on the processor, gives the same picture; and so does WebAssembly where the device is lost before its first answer."
    studio, picture = launch(EMULATED_GPU), photo("coffee", (200, 100, 211, 109))
    lose = "const ask = GPUAdapter.prototype.requestDevice; GPUAdapter.prototype.requestDevice = async function (...given) { const device = await ask.apply(this, given); setTimeout(() => device.destroy(), 1000); return device; };"
    studio.page.route("**/try/gpu.js", lambda route: route.fulfill(content_type="text/javascript", body=f"{lose if lost else ''} export const hasWebGPU = async () => Boolean(await navigator.gpu?.requestAdapter());"))
    studio.open().page.wait_for_function("document.querySelector('.try-backend').textContent")
    if "WebGPU:" not in studio.text("backend"): pytest.skip("this Chromium cannot emulate a graphics card")
    found = studio.take(picture).enlarge().result()
    assert farthest(found, upscaler("srgan")(picture)) <= 1
    assert ("WebAssembly" if lost else "WebGPU") in studio.text("backend")
