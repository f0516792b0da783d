"""The calls of the API that its page shows, run as they stand there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medclip.cases import Case
from tests.server.browser.served import serving

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"


def test_what_the_page_shows_of_the_api_works(index: Path, sample: Path, unseen: Case, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    calls = re.findall(r"^curl .*$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(calls) >= 8
    shutil.copy(sample / unseen.scans[0].file, tmp_path / "a.png")
    with serving(index, tmp_path) as site:
        for call in calls:
            line = call.replace("http://127.0.0.1:8765", site.address).replace("curl ", "curl -sS --fail-with-body ", 1)
            done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{call}: {done.stdout} {done.stderr}"
            told = json.loads(done.stdout or (tmp_path / "record.json").read_text())
            assert told
            assert "detail" not in told
