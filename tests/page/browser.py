"""Does something on the page, in a browser, as somebody would.

    browser.py COMMAND ADDRESS FOLDER SETTINGS

What was seen is written into FOLDER; what is told of it is the last line on standard output, as JSON. Playwright is on PYTHONPATH.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from playwright.async_api import Error, async_playwright, expect

CHROMIUM = "/usr/bin/chromium"
# How long anything may take to happen, ms.
PATIENCE = 60_000
# What moves comes first, and then the picture's shape.
MOVES = """document.querySelector('.picture') && [...document.querySelectorAll('.picture')].every(picture =>
  picture.style.aspectRatio && picture.querySelector('video')?.currentTime > 0)"""
# Where a picture lies in what is photographed.
PLACES = """pictures => pictures.map(picture => {
  const { x, y, width, height } = picture.getBoundingClientRect();
  return { x, y, width, height };
})"""


async def until(page, condition):
    """Waits within the page: its content security policy forbids Playwright's own way, which makes a function of text there."""
    look = f"const look = () => ({condition}) ? resolve() : requestAnimationFrame(look); look();"
    await asyncio.wait_for(page.evaluate(f"() => new Promise(resolve => {{ {look} }})"), PATIENCE / 1000)


class Screen:
    """Everything that the browser shows from now on, each picture a file: video and what is drawn over it together."""

    def __init__(self, page, folder):
        self.page, self.folder, self.count = page, folder, 0

    async def __aenter__(self):
        self.session = await self.page.context.new_cdp_session(self.page)
        self.session.on("Page.screencastFrame", self.frame)
        size = self.page.viewport_size
        await self.session.send(
            "Page.startScreencast",
            {"format": "jpeg", "quality": 95, "maxWidth": size["width"], "maxHeight": size["height"]},
        )
        return self

    async def frame(self, event):
        self.count += 1
        (self.folder / f"{self.count:05}.jpg").write_bytes(base64.b64decode(event["data"]))
        try:
            await self.session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})
        except Error:
            pass  # It was the last one: the browser is closed.

    async def __aexit__(self, *_):
        await self.session.send("Page.stopScreencast")


async def watch(page, address, folder, settings):
    """All streams, for so many frames."""
    await arrive(page, address)
    await expect(page.locator(".picture video")).to_have_count(settings["streams"], timeout=PATIENCE)
    await until(page, MOVES)
    places = await page.eval_on_selector_all(".picture", PLACES)
    async with Screen(page, folder) as screen:
        await page.evaluate(
            """many => Promise.all([...document.querySelectorAll('video')].map(video => new Promise(resolve => {
              let count = 0;
              const shown = () => (count += 1) < many ? video.requestVideoFrameCallback(shown) : resolve();
              video.requestVideoFrameCallback(shown);
            })))""",
            settings["frames"],
        )
    return {"places": places, "screens": screen.count}


async def ask(page, address, folder, settings):
    """Another sentence for the only stream."""
    lines = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: lines.append(data)))
    await arrive(page, f"{address}#/stream/{settings['stream']}")
    await until(page, MOVES)
    places = await page.eval_on_selector_all(".picture", PLACES)
    field = page.get_by_label("Sentence")
    async with Screen(page, folder) as screen:
        await expect(page.get_by_text("here, ").first).to_be_visible(timeout=PATIENCE)
        await field.fill(settings["sentence"])
        await field.press("Enter")
        await expect(page.locator(".sentence").filter(has_text=settings["sentence"]).first).to_be_visible(timeout=PATIENCE)
        # What comes then is seen a little later.
        at = await page.evaluate("document.querySelector('video').currentTime")
        await until(page, f"document.querySelector('video').currentTime > {at} + 4")
    texts = [json.loads(line) for line in lines if isinstance(line, str)]
    return {"places": places, "screens": screen.count, "lines": texts}


async def seen(page, address, folder, settings):
    """Sightings as they come, and the clip of the first one."""
    await arrive(page, f"{address}#/seen")
    # When each is told, and when its picture is there, by the same clock.
    found = await page.evaluate(
        """async ({ stream, count }) => {
          const told = {}, shown = {};
          const events = new EventSource(`/api/v1/findings?stream=${encodeURIComponent(stream)}`);
          const open = new Promise(resolve => events.addEventListener('open', resolve));
          events.addEventListener('event', ({ data }) => {
            const line = JSON.parse(data);
            if (line.event === 'sighting_start') told[line.sighting.id] = performance.now();
          });
          await open;
          await new Promise(resolve => {
            const look = () => {
              for (const card of document.querySelectorAll('a.seen')) {
                const id = decodeURIComponent(card.hash.split('/').at(-1));
                if (card.querySelector('img')?.naturalWidth) shown[id] ??= performance.now();
              }
              if (Object.keys(shown).length >= count) resolve();
              else requestAnimationFrame(look);
            };
            look();
          });
          events.close();
          return { told, shown };
        }""",
        settings,
    )
    await page.screenshot(path=folder / "list.png")
    # The oldest one is over.
    await page.locator("a.seen").last.click()
    clip = page.locator(".clip video")
    await expect(clip).to_be_visible(timeout=PATIENCE)
    await clip.evaluate("video => { video.muted = true; return video.play(); }")
    await clip.evaluate(
        "(video, until) => new Promise(resolve => video.addEventListener('timeupdate', () => video.currentTime > until && resolve()))",
        settings["until"],
    )
    await clip.evaluate("video => video.pause()")
    # What is drawn last is on the screen two frames later.
    await page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await page.locator(".clip").screenshot(path=folder / "clip.png")
    return {**found, "clip": await clip.evaluate("({ currentTime, duration, videoWidth }) => ({ currentTime, duration, videoWidth })")}


async def draw(page, address, folder, settings):
    """A zone: one corner is dragged, another moved with the keyboard."""
    await arrive(page, f"{address}#/stream/{settings['stream']}")
    await page.get_by_role("button", name="Draw zones and lines").click()
    await page.get_by_role("button", name="New zone").click()
    await page.get_by_label("Zone", exact=True).fill(settings["name"])
    frame = await page.locator(".picture").bounding_box()
    corner = await page.get_by_role("button", name="corner 1 of").bounding_box()
    to = settings["to"]
    await page.mouse.move(corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2)
    await page.mouse.down()
    await page.mouse.move(frame["x"] + to[0] * frame["width"], frame["y"] + to[1] * frame["height"], steps=8)
    await page.mouse.up()
    other = page.get_by_role("button", name="corner 3 of")
    await other.focus()
    await other.press("Shift+ArrowRight")
    await other.press("ArrowDown")
    await page.screenshot(path=folder / "zones.png")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved:")).to_be_visible(timeout=PATIENCE)
    return {"said": await page.get_by_text("Saved:").inner_text()}


async def arrive(page, address):
    """The page may not be served yet."""
    for _ in range(300):
        try:
            await page.goto(address)
            return
        except Error as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            await asyncio.sleep(0.1)
    raise TimeoutError(address)


async def main(command, address, folder, settings):
    wrong = []
    async with async_playwright() as playwright:
        # As root its own sandbox cannot be had.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        wide = command is not watch
        page = await browser.new_page(viewport={"width": 1200 if wide else 860, "height": 760 if wide else 560})
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        try:
            result = await command(page, address, folder, settings)
        except Exception:
            await page.screenshot(path=folder / "failed.png")
            print(wrong, file=sys.stderr)
            raise
        await browser.close()
    print(json.dumps({**result, "wrong": wrong}))


COMMANDS = {command.__name__: command for command in (watch, ask, seen, draw)}
name, address, folder, settings = sys.argv[1:]
asyncio.run(main(COMMANDS[name], address, Path(folder), json.loads(settings)))
