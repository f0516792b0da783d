"""``medclip demo``: the whole way on the synthetic sample cohort."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medclip.cases.case import Case

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("demo"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing demo folder.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = 0,
) -> None:
    """Draw a synthetic cohort, train on it, index it, ask it, and write the answer as a page."""
    from medclip.cli import ask, render
    from medclip.cli import cases as cases_cli
    from medclip.cli import index as index_cli
    from medclip.cli import model as model_cli
    from medclip.files.outputs import new_folder

    def step(command: str) -> None:
        render.say((f"\n$ medclip {command}", "bold cyan"))

    with new_folder(out, force=force, marker=".medclip-demo"):
        pass
    cases, model, index, page = out / "cases", out / "model", out / "index", out / "page.html"
    step(f"cases import sample --out {out}/cases")
    cases_cli.import_("sample", None, cases, force=False, seed=seed, as_json=False)
    step(f"cases check {out}/cases")
    cases_cli.check(cases, as_json=False)
    step(f"train {out}/cases --out {out}/model")
    model_cli.train(
        cases, model, towers="default", seed=seed, epochs=30, unfreeze=False, unfreeze_epochs=5, device="auto",
        threads=None, resume=False, force=False,
    )  # fmt: skip
    step(f"model verify {out}/model")
    model_cli.verify(model)
    step(f"index build {out}/cases --model {out}/model --split train --out {out}/index")
    index_cli.build(cases, model, index, split="train", threads=None, seed=seed, force=False, as_json=False)
    asked = _unseen(cases)
    scan, text = asked.scans[0].file, asked.note_text("history")
    step(
        f"query {out}/index --scan {out}/cases/{scan} --text '{text}' --age {asked.age:g} --sex {asked.sex} -k 5 "
        f"--html {out}/page.html"
    )
    ask.query(
        index, scan=[cases / scan], text=text, text_file=None, age=asked.age, sex=asked.sex, k=5, label=None,
        as_json=False, html=page, exclude_patient=None, threads=None,
    )  # fmt: skip
    render.say(f"\nThe demo is in {out}; open {out}/page.html in a browser, and ask it more with  medclip query")


def _unseen(cases: Path) -> "Case":
    """The first dev case with a lesion: the index has never seen its patient."""
    from medclip.cases.manifest import read_cases

    return next(c for c in read_cases(cases) if c.split == "dev" and c.labels["finding"] != "none")
