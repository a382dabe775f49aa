"""Pages in headless Chromium: opened from a file, worked on by a script, their document looked at afterwards."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")

_BEFORE = 'window.wrong = []; addEventListener("error", event => wrong.push(event.message));'
_AFTER = """
const asked = {}, $ = text => document.querySelector(text), $$ = text => [...document.querySelectorAll(text)];
Element.prototype.setPointerCapture = () => {};  // there is no pointer
%s
const told = document.createElement("pre");
told.id = "told";
told.textContent = JSON.stringify({ ...asked, wrong: window.wrong });
document.body.append(told);
"""


def asked(page: Path, script: str, address: str = "", folder: Path | None = None, dark: bool = False) -> Any:
    """What the script has put into `asked`, and `wrong`: the errors of all scripts. The page's policy stays as it is,
    but for these two scripts. address: what comes behind the file's name, `#trial=3`."""
    where = folder or page.parent
    after = _AFTER % script
    text = page.read_text(encoding="utf-8")
    allowed = text.replace("script-src ", f"script-src {_hash(_BEFORE)} {_hash(after)} ", 1)
    worked = where / f"worked-{page.name}"
    head, body = f"<script>{_BEFORE}</script><title>", f"<script>{after}</script>\n</body>"
    worked.write_text(allowed.replace("<title>", head, 1).replace("</body>", body), encoding="utf-8")
    document = dumped(worked, address, dark)
    return json.loads(unescape(document.partition('<pre id="told">')[2].partition("</pre>")[0]))


def dumped(page: Path, address: str = "", dark: bool = False) -> str:
    """The document after its scripts have run."""
    profile = page.parent / "chromium"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", "--dump-dom"]
    command += [f"--user-data-dir={profile}", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    # Pipes would be held open by processes that Chromium leaves behind.
    with open(page.parent / "document", "w+", encoding="utf-8") as out:
        subprocess.run(
            [*command, page.as_uri() + address], stdout=out, stderr=subprocess.DEVNULL, timeout=300, check=True
        )
        out.seek(0)
        return out.read()


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
