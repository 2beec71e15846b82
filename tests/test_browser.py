"The site as visitors meet it: each page in a browser, narrow and wide, light and dark."
import mimetypes
import re

import pytest

from conftest import MODULES, PAGES, needs_chromium, patient

pytestmark = needs_chromium


def answer(route):
    "What the net would answer: npm's packages from the folder they were installed to, a blank picture for badges, nothing else."
    url = route.request.url
    if "://127.0.0.1" in url or url.startswith("data:"): return route.continue_()
    package = re.search(r"/npm/([\w-]+)@[\d.]+/(.*)$", url)
    if package and (file := MODULES / package[1] / package[2]).is_file(): return route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file.name)[0] or "font/woff2")
    if route.request.resource_type == "image": return route.fulfill(body='<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20"/>', content_type="image/svg+xml")
    return route.fulfill(body="", content_type="text/javascript" if url.endswith(".js") else "text/css")


@pytest.fixture
def page(browser, request):
    width, theme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=theme)
    page = patient(context).new_page()
    page.route("**/*", answer)
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    yield page
    context.close()


@pytest.mark.parametrize("page", [(width, theme) for width in (390, 1280) for theme in ("light", "dark")], indirect=True, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.parametrize("name", PAGES)
def test_page(page, address, name):
    "No error, nothing wider than the screen, every picture there, formulas typeset."
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.complaints == [] or not MODULES.is_dir() and all("katex" in text.lower() or "renderMathInElement" in text for text in page.complaints)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, "the page scrolls sideways"
    assert page.evaluate("[...document.querySelectorAll('main img')].filter(image => !image.naturalWidth).map(image => image.src.slice(0, 80))") == []
    if name == "00_paper" and MODULES.is_dir(): assert page.locator("main .katex, main mjx-container").count() > 50


def test_theme_follows_the_reader(browser, address):
    "Dark is dark, light is light."
    found = {}
    for theme in ("light", "dark"):
        context = browser.new_context(color_scheme=theme)
        page = patient(context).new_page(); page.route("**/*", answer); page.goto(f"{address}/index.html")
        found[theme] = sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]))
        context.close()
    assert found["dark"] < 200 < 600 < found["light"]


WITH_SLIDERS = pytest.mark.parametrize("name", ["index", "gallery"])


def slider_on(page, address, name):
    "The first slider of a page, in sight, and its value: how many percent of the width the line stands from the left."
    page.goto(f"{address}/{name}.html", wait_until="load")
    slider = page.locator("img-comparison-slider").first
    slider.scroll_into_view_if_needed()
    return slider, lambda: slider.evaluate("element => element.value")


@WITH_SLIDERS
def test_slider_moves_by_keyboard(page, address, name):
    slider, value = slider_on(page, address, name)
    slider.focus()
    page.keyboard.down("ArrowRight"); page.wait_for_timeout(400); page.keyboard.up("ArrowRight")
    assert value() > 55


@WITH_SLIDERS
def test_slider_moves_by_mouse(page, address, name):
    slider, value = slider_on(page, address, name)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50); page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 50, steps=5); page.mouse.up(); page.wait_for_timeout(200)
    assert 15 < value() < 25


@WITH_SLIDERS
def test_slider_moves_by_touch(browser, address, name):
    context = browser.new_context(viewport=dict(width=390, height=900), has_touch=True, is_mobile=True)
    page = patient(context).new_page(); page.route("**/*", answer)
    slider, value = slider_on(page, address, name)
    box, finger = slider.bounding_box(), context.new_cdp_session(page)
    for kind, at in [("touchStart", 0.5), *(("touchMove", 0.5 + step / 20) for step in range(1, 7)), ("touchEnd", None)]:
        finger.send("Input.dispatchTouchEvent", dict(type=kind, touchPoints=[dict(x=box["x"] + box["width"] * at, y=box["y"] + 50)] if at else []))
    page.wait_for_timeout(200)
    assert 75 < value() < 85
    context.close()


def test_search_finds_a_class(page, address):
    page.goto(f"{address}/index.html", wait_until="load")
    page.locator("input[type=search], #quarto-search input, .aa-Input").first.click()
    page.keyboard.type("Upscaler", delay=20)
    page.wait_for_timeout(1000)
    links = page.evaluate("[...document.querySelectorAll('a')].filter(link => link.offsetParent && /08_inference/.test(link.href) && /Upscaler/i.test(link.textContent)).length")
    assert links > 0
