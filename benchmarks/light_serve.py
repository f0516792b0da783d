"""Run in the light environment with the extra ``serve``: it answers a question over HTTP, the size is within bounds."""

import json
import sys
import sysconfig
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # for tests; the program that is started is the installed one

from tests.server.browser.served import serving  # noqa: E402

MOST_MEGABYTES = 660


def main() -> None:
    """Check and print what was found."""
    site = Path(sysconfig.get_paths()["purelib"])
    size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6
    if size > MOST_MEGABYTES:
        sys.exit(f"the light environment weighs {size:.0f} MB with the extra serve, over {MOST_MEGABYTES}")
    with tempfile.TemporaryDirectory() as scratch, serving(ROOT / "demo" / "index", Path(scratch)) as served:

        def ask(path: str) -> bytes:
            headers = {"authorization": f"Bearer {served.token}"}
            with urllib.request.urlopen(urllib.request.Request(served.address + path, headers=headers)) as answer:
                return bytes(answer.read())

        found = json.loads(ask("/api/v1/similar?id=sample-001"))["similar"]
        for path in ("/", "/cases", "/static/style.css"):
            ask(path)
    print(f"served without torch: {len(found)} similar cases; {size:.0f} MB with serve (at most {MOST_MEGABYTES})")


if __name__ == "__main__":
    main()
