"The site as visitors see it: each page in a browser, narrow and wide, light and dark."
import mimetypes
import re

import pytest

from conftest import NODE_MODULES, PAGES, needs_chromium, with_long_timeout

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
    "A page that collects its errors; the parameter is its width and theme."
    width, theme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=theme)
    page = new_page(context)
    page.errors = []

    def keep_error(message):
        if message.type == "error":
            page.errors.append(message.text)

    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", keep_error)
    yield page
    context.close()


SCREENS = [(width, theme) for width in (390, 1280) for theme in ("light", "dark")]
EXCESS_WIDTH = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
MISSING_IMAGES = """[...document.querySelectorAll('main img')]
    .filter(image => !image.naturalWidth)
    .map(image => image.src.slice(0, 80))"""


def is_about_katex(error):
    return "katex" in error.lower() or "renderMathInElement" in error


@pytest.mark.parametrize("page", SCREENS, indirect=True, ids=lambda screen: f"{screen[0]}-{screen[1]}")
@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(page, address, name):
    "No errors, nothing wider than the screen, every picture loaded, formulas typeset."
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    only_katex_is_missing = not NODE_MODULES.is_dir() and all(map(is_about_katex, page.errors))
    assert page.errors == [] or only_katex_is_missing
    assert page.evaluate(EXCESS_WIDTH) <= 0, "the page scrolls sideways"
    assert page.evaluate(MISSING_IMAGES) == []
    if name == "00_paper" and NODE_MODULES.is_dir():
        assert page.locator("main .katex, main mjx-container").count() > 50


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
