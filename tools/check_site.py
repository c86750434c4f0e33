"""Reads the built site in a browser, as a visitor would: `make site-check`, after `make site`.

It checks, on a phone and on a desktop, that no page is wider than the window, and that each table
has a header row and its cells the labels of their columns. It checks that the search finds the
right page first, that a click copies code but output has no copy button, that each page links to
the next, and that a page opened as a file says what its search needs. It uses the Chromium
or Chrome that is installed: on Debian, `apt install chromium`.
"""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from build_site import SITE
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

PHONE: ViewportSize = {"width": 390, "height": 844}  # pixels
DESKTOP: ViewportSize = {"width": 1280, "height": 900}

# What somebody types, and the page that should come first.
SEARCHES = {
    "timeout": "guides/configuration.html#time",
    "retry": "guides/errors.html#retries",
    "proxy": "guides/configuration.html#proxies",
    "cancel a run": "guides/cancelling.html",
    "resume": "guides/runs.html#answer-an-agents-questions",
    "api key": "guides/authentication.html",
    "async": "guides/many-at-once.html#in-asyncio-and-in-notebooks",
    "pickle": "guides/many-at-once.html#processes",
    "rate limit": "guides/errors.html#rate-limits",
    "stream ended early": "guides/runs.html#follow-it-over-broken-connections",
    "self-signed certificate": "guides/configuration.html#tls",
    "Jupyter": "guides/recipes.html#a-notebook",
    "progress bar": "guides/runs.html#show-progress",
    "RunGone": "guides/errors.html#handle-a-failed-run",
    "webhook": "guides/webhooks.html",
    "bearer token": "guides/authentication.html",
    "human in the loop": "guides/runs.html#answer-an-agents-questions",
    "multi-turn": "guides/conversations.html",
    "exit code": "guides/command-line.html#exit-status",
    "resume a batch": "guides/batches.html#stop-it-and-continue",
    "idempotency": "guides/runs.html#start-exactly-one-run",
    "pagination": "guides/searching.html",
    "notebook": "guides/recipes.html#a-notebook",
    "error message": "reference/messages.html",
    "troubleshooting": "guides/troubleshooting.html",
    "parallel": "guides/many-at-once.html",
    "concurrency": "guides/batches.html#a-thousand-inputs",
    "max concurrency": "guides/batches.html#a-thousand-inputs",
    "batch size": "guides/batches.html#a-thousand-inputs",
    "ratelimit": "guides/errors.html#rate-limits",
    "kill": "guides/cancelling.html",
    "stream tokens": "guides/runs.html#follow-a-run-as-it-works",
    "token expired": "guides/authentication.html#a-token-that-expires",
    "close client": "guides/configuration.html#in-python",
    "poll": "guides/waiting.html#until-there-is-an-output",
    "status of a run": "guides/runs.html#come-back-the-next-day",
    "ACP_HOST": "guides/configuration.html#from-the-environment",
    "schema": "guides/agents.html#read-what-an-agent-takes-returns-and-can-do",
    "422": "guides/agents.html#check-an-input-before-it-is-sent",
    "docker": "guides/configuration.html#host",
    "dataclass": "guides/agents.html#what-an-input-may-hold",
    "version": "guides/compatibility.html",
    "upload file": "guides/agents.html#what-an-input-may-hold",
    "resume after crash": "guides/batches.html#stop-it-and-continue",
    "401": "guides/authentication.html",
    "429": "guides/errors.html#rate-limits",
    "backoff": "guides/errors.html#retries",
    "callback": "guides/webhooks.html",
    "chat": "guides/conversations.html",
    "cron": "guides/command-line.html#a-nightly-job",
    "Ctrl-C": "guides/runs.html#stop-with-ctrl-c",
    "csv": "guides/batches.html#from-csv-to-csv",
    "deadline": "guides/configuration.html#time",
    "doctor": "guides/doctor.html",
    "fastapi": "guides/recipes.html#a-web-application-with-fastapi",
    "journal": "guides/batches.html#stop-it-and-continue",
    "langgraph": "guides/recipes.html#an-agent-as-a-node-of-a-langgraph-graph",
    "opentelemetry": "guides/observing.html",
    "pytest": "guides/testing.html",
    "reconnect": "guides/runs.html#follow-it-over-broken-connections",
}
# Fewer that find their page first fail the check.
LEAST_FOUND = 57

# Without them, Chromium looks for hosts of its maker at each start.
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Elements of the text that end beyond the window, but for what scrolls by itself.
_TOO_WIDE = """() => [...document.querySelectorAll("article *")].filter(element =>
    !element.closest("pre, svg, .md-typeset__scrollwrap, .headerlink")
    && element.getBoundingClientRect().right > window.innerWidth + 1
).map(element => `${element.tagName} ${element.textContent.slice(0, 40)}`)"""


# Cells that a phone shows below each other, without saying of which column they are.
_WITHOUT_LABEL = """() => [...document.querySelectorAll("article table:not([class])")]
.flatMap(table => {
    const heads = [...table.querySelectorAll("thead th")].map(head => head.textContent.trim());
    if (getComputedStyle(table.tHead).display !== "none") return [];
    return [...table.querySelectorAll("tbody td")].filter(cell => heads[cell.cellIndex]
        && getComputedStyle(cell, "::before").content === "none").map(cell => cell.textContent);
})"""


# Blocks of code whose button to copy lies over the code, which may be scrolled under it.
_COVERED = """() => [...document.querySelectorAll("article pre")].filter(block => {
    const buttons = block.querySelector(".md-code__nav");
    if (!buttons || getComputedStyle(buttons).display === "none") return false;
    const text = document.createRange();
    text.selectNodeContents(block.querySelector("code"));
    return text.getBoundingClientRect().top < buttons.getBoundingClientRect().bottom;
}).map(block => block.textContent.slice(0, 40))"""


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served() -> Generator[str]:
    """Serve the site; give its address."""
    handler = functools.partial(_Handler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def check_widths(browser: Browser, address: str) -> None:
    """Check that every page fits a phone and a desktop, and what a phone would hide."""
    pages = [path.relative_to(SITE).as_posix() for path in sorted(SITE.rglob("*.html"))]
    page = browser.new_page()
    for name in pages:
        page.goto(f"{address}/{name}")
        for viewport in (DESKTOP, PHONE):
            page.set_viewport_size(viewport)
            if wide := page.evaluate(_TOO_WIDE):
                raise SystemExit(f"{name} is wider than {viewport['width']} pixels: {wide[:3]}")
        if bare := page.evaluate(_WITHOUT_LABEL):
            raise SystemExit(f"{name} has cells without the label of their column: {bare[:3]}")
        if covered := page.evaluate(_COVERED):
            raise SystemExit(f"{name} has code below the button that copies it: {covered[:3]}")
        # Markdown takes the rows of a table that lacks its header for a paragraph.
        if page.locator("article p").filter(has_text=re.compile(r"^\s*\|")).count():
            raise SystemExit(f"{name} has a table without a header row")
    page.goto(f"{address}/index.html#install")
    block = page.locator("#install ~ .language-sh pre code").first
    if block.evaluate("code => code.scrollWidth > code.clientWidth + 1"):
        raise SystemExit("the commands of the installation do not fit a phone")
    print(
        f"{len(pages)} pages fit a phone and a desktop, tables keep their labels, and code is free"
    )


def check_search(page: Page, address: str) -> None:
    """Check which page is found first, and name the searches that find another."""
    missed: list[str] = []
    for words, wanted in SEARCHES.items():
        page.goto(f"{address}/index.html")
        page.locator(".md-search__button").click()
        page.locator("input:focus").fill(words)
        found = page.locator("a[href*='?h=']").first
        path, _, fragment = wanted.partition("#")
        pattern = f"{re.escape(path)}[?].*{f'#{re.escape(fragment)}$' if fragment else ''}"
        try:
            expect(found).to_have_attribute("href", re.compile(pattern))
        except AssertionError:
            missed.append(f"{words!r}, which finds {found.get_attribute('href')} before {wanted}")
    print(f"{len(SEARCHES) - len(missed)} of {len(SEARCHES)} searches find their page first")
    print(*missed, sep="\n", end="\n" if missed else "")
    if len(SEARCHES) - len(missed) < LEAST_FOUND:
        raise SystemExit(f"at least {LEAST_FOUND} searches must find their page first")


def check_copying(page: Page, address: str) -> None:
    """Check that one click copies a block of code, and that output has no such button."""
    page.goto(f"{address}/index.html")
    block = page.locator(".language-python").first
    button = block.locator("button, .md-clipboard").first
    expect(button).to_be_visible()
    if float(button.evaluate("button => getComputedStyle(button).opacity")) < 0.5:
        raise SystemExit("the copy button can hardly be seen")
    button.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    if not copied.startswith("from acp_client_v0_1 import"):
        raise SystemExit(f"a click on the copy button copied: {copied!r}")
    output = page.locator(".language-text").first
    output.hover()
    expect(output.locator(".md-clipboard, button").first).not_to_be_visible()
    expect(page.locator("a.md-footer__link--next")).to_be_visible()
    print("one click copies code")


def check_folder(browser: Browser, address: str) -> None:
    """Check that a page that is opened as a file says what its search needs, in one line."""
    page = browser.new_page(viewport=DESKTOP)
    heights: list[float] = []
    for place in (f"{address}/index.html", (SITE / "index.html").as_uri()):
        page.goto(place)
        heights.append(page.locator("header").first.evaluate("header => header.offsetHeight"))
    if heights[0] != heights[1]:
        raise SystemExit(f"the header breaks in a page that is opened as a file: {heights}")
    expect(page.locator(".md-search__button").first).to_have_text("Search needs: make site-serve")
    print("a page that is opened as a file says what its search needs")


def main() -> None:
    """Run every check."""
    names = ("chromium", "google-chrome", "chromium-browser", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        raise SystemExit("no Chromium or Chrome is installed; on Debian: apt install chromium")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        check_widths(browser, address)
        context = browser.new_context(viewport=DESKTOP)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        page = context.new_page()
        check_search(page, address)
        check_copying(page, address)
        check_folder(browser, address)
        browser.close()


if __name__ == "__main__":
    main()
