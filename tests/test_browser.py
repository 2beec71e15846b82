"The site as visitors see it: each page in a browser, narrow and wide, light and dark."
import mimetypes
import re

import pytest

from conftest import NODE_MODULES, PAGES, ROOT, build_quarto_page, needs_chromium, with_long_timeout
from headless import served

pytestmark = [pytest.mark.browser, needs_chromium]

BLANK_BADGE = '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20"/>'


def answer_offline(route):
    "Replaces the net: npm's packages come from their folder here, badges are blank, everything else is empty."
    url = route.request.url
    if "://127.0.0.1" in url or url.startswith("data:"):
        return route.continue_()
    package = re.search(r"/npm/([\w-]+)@[\d.]+/(.*)$", url)
    if package and (file := NODE_MODULES / package[1] / package[2]).is_file():
        content_type = mimetypes.guess_type(file.name)[0] or "font/woff2"
        return route.fulfill(body=file.read_bytes(), content_type=content_type)
    if route.request.resource_type == "image":
        return route.fulfill(body=BLANK_BADGE, content_type="image/svg+xml")
    return route.fulfill(body="", content_type="text/javascript" if url.endswith(".js") else "text/css")


def new_page(context):
    "A page of a browser context, cut off from the net."
    page = with_long_timeout(context).new_page()
    page.route("**/*", answer_offline)
    return page


@pytest.fixture
def page(browser, request):
    "A page that collects its errors; the parameter is its theme."
    theme = getattr(request, "param", "light")
    # a service worker would load the page `try` again in the middle of a test
    context = browser.new_context(
        viewport=dict(width=1280, height=900), color_scheme=theme, service_workers="block")
    page = new_page(context)
    page.errors = []

    def keep_error(message):
        if message.type == "error":
            page.errors.append(message.text)

    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", keep_error)
    yield page
    context.close()


BOTH_THEMES = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
EXCESS_WIDTH = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
IMAGES_TO_COME = """Promise.all([...document.images].map(image =>
    image.complete || new Promise(done => image.onload = image.onerror = done)))"""
MISSING_IMAGES = """[...document.querySelectorAll('main img')]
    .filter(image => !image.naturalWidth)
    .map(image => image.src.slice(0, 80))"""


def is_about_katex(error):
    return "katex" in error.lower() or "renderMathInElement" in error


def assert_fits(page):
    "Nothing is wider than the screen, on a desktop or a phone."
    for width in (1280, 390):
        page.set_viewport_size(dict(width=width, height=900))
        assert page.evaluate(EXCESS_WIDTH) <= 0, f"the page scrolls sideways at {width} pixels"


@BOTH_THEMES
@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(page, address, name):
    "No errors, nothing wider than the screen, every picture loaded, formulas typeset."
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.evaluate(IMAGES_TO_COME)
    only_katex_is_missing = not NODE_MODULES.is_dir() and all(map(is_about_katex, page.errors))
    assert page.errors == [] or only_katex_is_missing
    assert_fits(page)
    assert page.evaluate(MISSING_IMAGES) == []
    if name == "00_paper" and NODE_MODULES.is_dir():
        assert page.locator("main .katex, main mjx-container").count() > 50


MATHJAX = '<script src="https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-chtml-full.js"></script>'
WITH_FORMULAS = [name for name in PAGES if "$$" in (ROOT / f"nbs/{name}.ipynb").read_text(encoding="utf-8")]


@pytest.mark.skipif(not NODE_MODULES.is_dir(), reason="SRGAN_NODE_MODULES names no folder of npm packages")
@pytest.mark.parametrize("name", WITH_FORMULAS)
def test_formulas_fit_with_mathjax(page, site, address, name):
    "Quarto's pages typeset formulas with MathJax, which gives wide ones a width of their own."
    html = (site / f"{name}.html").read_text(encoding="utf-8")
    html = re.sub(r"<script[^>]*katex[^>]*></script>", "", html).replace("</head>", f"{MATHJAX}</head>", 1)
    page.route(f"{address}/{name}.html", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.wait_for_function("document.querySelector('main mjx-container')")
    page.evaluate("MathJax.startup.promise")
    assert_fits(page)


def test_theme_follows_the_reader(browser, address):
    "The background is dark in the dark theme and light in the light one."
    brightness = {}
    for theme in ("light", "dark"):
        context = browser.new_context(color_scheme=theme)
        page = new_page(context)
        page.goto(f"{address}/index.html")
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[theme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
        context.close()
    assert brightness["dark"] < 200 < 600 < brightness["light"]


WITH_SLIDERS = pytest.mark.parametrize("name", ["index", "gallery"])


def slider_on(page, address, name):
    "The first slider of a page, scrolled into view, and a function that returns the line's position in percent."
    page.goto(f"{address}/{name}.html", wait_until="load")
    slider = page.locator("img-comparison-slider").first
    slider.scroll_into_view_if_needed()
    return slider, lambda: slider.evaluate("element => element.value")


@WITH_SLIDERS
def test_slider_moves_by_keyboard(page, address, name):
    slider, value = slider_on(page, address, name)
    slider.focus()
    page.keyboard.down("ArrowRight")
    page.wait_for_timeout(400)
    page.keyboard.up("ArrowRight")
    assert value() > 55


@WITH_SLIDERS
def test_slider_moves_by_mouse(page, address, name):
    slider, value = slider_on(page, address, name)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 50, steps=5)
    page.mouse.up()
    page.wait_for_timeout(200)
    assert 15 < value() < 25


@WITH_SLIDERS
def test_slider_moves_by_touch(browser, address, name):
    context = browser.new_context(viewport=dict(width=390, height=900), has_touch=True, is_mobile=True)
    page = new_page(context)
    slider, value = slider_on(page, address, name)
    box, finger = slider.bounding_box(), context.new_cdp_session(page)

    def touch(kind, at=None):
        "Send a touch at a fraction of the slider's width, or lift the finger."
        points = [] if at is None else [dict(x=box["x"] + box["width"] * at, y=box["y"] + 50)]
        finger.send("Input.dispatchTouchEvent", dict(type=kind, touchPoints=points))

    touch("touchStart", 0.5)
    for step in range(1, 7):
        touch("touchMove", 0.5 + step / 20)
    touch("touchEnd")
    page.wait_for_timeout(200)
    assert 75 < value() < 85
    context.close()


# the preview's search box, or Quarto's
SEARCH_BOX = "input[type=search], #quarto-search input, .aa-Input"
UPSCALER_LINKS = """[...document.querySelectorAll('a')].filter(link =>
    link.offsetParent && /11_inference/.test(link.href) && /Upscaler/i.test(link.textContent)).length"""


def test_search_finds_a_class(page, address):
    page.goto(f"{address}/index.html", wait_until="load")
    page.locator(SEARCH_BOX).first.click()
    page.keyboard.type("Upscaler", delay=20)
    page.wait_for_timeout(1000)
    assert page.evaluate(UPSCALER_LINKS) > 0


# Figures with a knob

def test_the_hairs_have_the_chapters_losses(page, address):
    "At the sharp end 0.50 and 0.00, at the mean 0.25 and 56.25, as 00_paper computes by hand."
    page.goto(f"{address}/00_paper.html", wait_until="load")
    figure = page.locator("#knob-hairs")
    figure.locator("input").focus()
    page.keyboard.press("Home")
    assert "squared error 0.50, energy distance 0.00" in figure.locator("output").inner_text()
    page.keyboard.press("End")
    assert "squared error 0.25, energy distance 56.25" in figure.locator("output").inner_text()


def test_the_pulls_at_a_chosen_d(page, address):
    page.goto(f"{address}/00_paper.html", wait_until="load")
    figure = page.locator("#knob-adversarial")
    figure.locator("input").fill("0.1")
    told = figure.locator("output").inner_text()
    assert "ratio of the pulls 9.00" in told and "−log D = 2.30, slope −10.0, pull on the logit 0.900" in told
    plot = figure.locator("svg")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.click(box["x"] + box["width"] * (44 + 364 / 2) / 420, box["y"] + 50) # the middle of the axis
    assert "D = 0.500, ratio of the pulls 1.00" in figure.locator("output").inner_text()


def test_the_walk_from_srresnet_to_srgan_shows_one_picture_at_a_time(page, address):
    page.goto(f"{address}/results.html", wait_until="load")
    figure = page.locator("figure.knob-between")
    for key, share in (("Home", "0 %"), ("ArrowRight", "12.5 %"), ("End", "100 %")):
        figure.locator("input").focus()
        page.keyboard.press(key)
        assert figure.locator("output").inner_text().startswith(f"{share} of the way to SRGAN")
        assert figure.locator("img:visible").count() == 1


# What Quarto's HTML needs of our styles, on a page that has it

@pytest.fixture(scope="module")
def quarto_address(tmp_path_factory):
    with served(build_quarto_page(tmp_path_factory.mktemp("quarto") / "site")) as address:
        yield address


CONTRAST = """selector => {
    const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const luminance = colour => numbers(colour).map(c => c / 255)
        .map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, k) => sum + c * [.2126, .7152, .0722][k], 0);
    const [text, ground] = [document.querySelector(selector), document.body].map(getComputedStyle);
    const [a, b] = [luminance(text.color), luminance(ground.backgroundColor)].sort((a, b) => a - b);
    return (b + .05) / (a + .05);
}"""


@pytest.mark.parametrize("selector", [".breadcrumb-item a", ".nav-page-text", "main p", "p.exported a", "figcaption"])
def test_quartos_texts_are_readable_in_the_dark(page, quarto_address, selector):
    page.goto(f"{quarto_address}/index.html")
    assert page.evaluate(CONTRAST, selector) >= 4.5


def test_quartos_page_fits_a_phone(page, quarto_address):
    page.goto(f"{quarto_address}/index.html")
    if NODE_MODULES.is_dir():
        page.add_script_tag(url=re.search(r'src="(.*?)"', MATHJAX)[1])
        page.wait_for_function("document.querySelector('main mjx-container')")
    assert_fits(page)


def test_quartos_sliders_have_no_frame(page, quarto_address):
    page.goto(f"{quarto_address}/index.html")
    style = "image => { const s = getComputedStyle(image); return [s.margin, s.padding, s.backgroundColor] }"
    for image in page.locator("img-comparison-slider img").all():
        assert image.evaluate(style) == ["0px", "0px", "rgba(0, 0, 0, 0)"]


def test_names_stay_whole_and_code_keeps_its_indentation(page, quarto_address):
    page.set_viewport_size(dict(width=390, height=900))
    page.goto(f"{quarto_address}/index.html")
    lines = "element => new Set([...element.getClientRects()].map(box => Math.round(box.top))).size"
    assert page.locator("td code").first.evaluate(lines) == 1
    hanging = page.locator("#cb1-2").evaluate("line => parseFloat(getComputedStyle(line).paddingLeft)")
    assert hanging > 20 # the second line of a long line of code starts here
