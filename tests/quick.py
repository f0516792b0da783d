"""Which tests are quick enough for ``make check``: all that are not slow; and which files come first in ``make test``.

A test is slow if it is marked ``@pytest.mark.slow``, if it uses a fixture, directly or through another, that takes long to
make, or if it runs over a backend that takes long to start. Nobody keeps a list of tests: with ``--quick-limit SECONDS`` a
test that is not slow and takes longer, its fixtures included, fails.
"""

from collections.abc import Generator

import pytest

__all__ = ["LONGEST", "SLOW_FIXTURES", "SLOW_PARAMETERS"]

SLOW_FIXTURES = frozenset(
    {"sample", "demo", "model", "tiny_model", "tiny_index", "index", "medpix", "covid", "pacs", "joint"}
)
"""Fixtures that draw a cohort, train, build an index, write a folder of studies or read a published set."""

SLOW_PARAMETERS = frozenset({("backend", "milvus")})
"""Parameters of tests that run over others, too."""

LONGEST = (
    "test_upkeep.py", "test_ablation.py", "test_commands.py", "test_training.py", "test_ask.py", "test_killed.py",
    "test_real_archive.py", "test_hub_layouts.py", "test_multilingual.py", "test_labelling.py", "test_orientation.py",
    "test_joint.py", "test_choosing.py", "test_distil.py", "test_fetch.py", "test_verify.py", "test_odd_names.py",
)  # fmt: skip
"""Files that take a minute or so: they begin, the longest first, so that no process works alone at the end of a run.
The first makes the demo, for which the second need not wait."""

_TAKEN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick-limit", type=float, metavar="SECONDS", help="fail a test that takes longer and is not slow"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds, or a trained model; left out by  make check")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))
    seen: set[str] = set()
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        seen |= used
        call = getattr(item, "callspec", None)
        if used & SLOW_FIXTURES or (call and _slow(call.params)):
            item.add_marker(pytest.mark.slow)
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and (gone := SLOW_FIXTURES - seen):
        raise pytest.UsageError(f"tests/quick.py names fixtures that no test uses: {', '.join(sorted(gone))}")


def _slow(params: dict[str, object]) -> bool:
    return any(params.get(name) == value for name, value in SLOW_PARAMETERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    limit = item.config.getoption("--quick-limit")
    if limit is None or call.when == "teardown" or item.get_closest_marker("slow"):
        return report
    taken = item.stash.get(_TAKEN, 0.0) + call.duration
    item.stash[_TAKEN] = taken
    if taken > limit and report.passed:
        report.outcome = "failed"
        report.longrepr = (
            f"took {taken:.1f} s with its fixtures; a test that is not slow has {limit:g} s. "
            f"Make it quicker, or mark it with @pytest.mark.slow"
        )
    return report
