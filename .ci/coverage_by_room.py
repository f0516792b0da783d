"""Prints the share of lines and branches that the tests ran, by room, and the files below a limit; fails if a room is below.

Usage: coverage_by_room.py COVERAGE.json [LEAST-PERCENT]
"""

import json
import sys
from collections import defaultdict
from pathlib import Path


def main(report: Path, least: float) -> int:
    """Print the table; 1 where a room is below `least` percent."""
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    low = []
    for name, found in json.loads(report.read_text())["files"].items():
        total = found["summary"]
        ran = total["covered_lines"] + total["covered_branches"]
        there = total["num_statements"] + total["num_branches"]
        parts = Path(name).parts
        top = next(part for part in ("index", "cli", "medclip") if part in parts)
        inside = parts[parts.index(top) :]
        room = inside[1].removesuffix(".py") if top == "medclip" else top
        rooms[room][0] += ran
        rooms[room][1] += there
        if there and 100 * ran < least * there:
            low.append((100 * ran / there, "/".join(inside)))
    print(f"{'room':<14}{'ran':>8}   lines and branches")
    for room, (ran, there) in sorted(rooms.items()):
        if there:
            print(f"{room:<14}{100 * ran / there:>7.1f}%   {there:>6}")
    whole = [sum(one) for one in zip(*rooms.values(), strict=True)]
    print(f"{'all':<14}{100 * whole[0] / whole[1]:>7.1f}%   {whole[1]:>6}")
    for share, name in sorted(low):
        print(f"below {least:g} %: {name} ({share:.0f} %)")
    behind = [room for room, (ran, there) in rooms.items() if there and 100 * ran < least * there]
    if behind:
        print(f"too little is tested of: {', '.join(behind)}")
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 80))
