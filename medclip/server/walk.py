"""The pages of the archive: its cases in a list, one whole, all on a map, and what can be answered from them."""

from collections import Counter
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from medclip.archive.browsing import CaseLine, clause, list_cases, read_where, sheet_of, values_of
from medclip.archive.map_file import read_map
from medclip.archive.map_upkeep import MapPoint, points_of
from medclip.assistant.account import account_of
from medclip.assistant.cautions import OUTDATED, not_fitted_among
from medclip.assistant.wording import shown_labels
from medclip.errors import OptionError
from medclip.server.again import address, case_page, search_from
from medclip.server.context import Context, case_named, problem, who_asks
from medclip.server.given import filter_of
from medclip.server.pages import page
from medclip.server.site import choices_of, picture_of

__all__ = ["walk"]

_PAGE = 24  # cases of a list
_COLOURS = 9  # classes of a map that have a colour of their own
_POINTS = 5_000  # of a map; of more cases as many are drawn, evenly taken


def _labels(case: CaseLine) -> dict[str, str]:
    return shown_labels(case.labels)


@dataclass(frozen=True)
class _Dot:
    """A case on the drawn map."""

    case_id: str
    x: float  # 0 to 1000
    y: float
    colour: int  # 0: unknown or other
    value: str


def _dots(points: list[MapPoint]) -> tuple[list[_Dot], list[tuple[str, int]]]:
    """What is drawn, and the legend: (value, colour)."""
    step = max(1, -(-len(points) // _POINTS))
    chosen = points[::step]
    counts = Counter(f"{point.values[0]}" for point in chosen if point.values)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))[:_COLOURS]
    own = {name: number for number, name in enumerate(ranked, start=1)}
    dots = []
    for point in chosen:
        value = f"{point.values[0]}" if point.values else "unknown"
        dots.append(_Dot(point.case_id, *_placed(point.x, point.y), own.get(value, 0), value))
    return dots, list(own.items())


def _placed(x: float, y: float) -> tuple[float, float]:
    return round(500 + 480 * x, 1), round(500 - 480 * y, 1)


def walk(context: Context) -> APIRouter:
    """The routes."""
    routes, desk = APIRouter(include_in_schema=False, default_response_class=HTMLResponse), context.desk

    @routes.get("/cases")
    async def cases(request: Request, sort: str = "case", offset: int = 0) -> str:
        asked = dict(request.query_params.items())
        where = filter_of(asked)

        def made() -> str:
            archive = desk.archive()
            index, choices = archive.index, choices_of(archive)
            listing = list_cases(
                index, where=read_where(index, where), sort=[sort], limit=_PAGE, offset=max(0, min(offset, 1 << 40))
            )
            names = [one.field for one in (*choices.texts, *choices.ranges)]

            def at(place: int) -> str:
                pairs = [("where", where), ("sort", sort), ("offset", str(place))]
                return address("/cases", [(name, value) for name, value in pairs if value])

            return page(
                "cases", synthetic=choices.synthetic, listing=listing, where=where, example=choices.example,
                choices=choices.texts, sort=sort,
                orders=["case", "-case", *(one for name in names for one in (name, f"-{name}"))],
                earlier=at(max(0, offset - _PAGE)) if offset > 0 else None,
                later=at(offset + _PAGE) if offset + _PAGE < listing.total else None,
                labels_of=_labels, page=case_page, picture=picture_of,
            )  # fmt: skip

        return await desk.look(made)

    @routes.get("/case")
    async def case(request: Request, id: str) -> str:
        def made() -> str:
            assistant = desk.archive()
            sheet = sheet_of(assistant.index, case_named(request, assistant, id))
            outcome = [
                ("Impression", sheet.impression), ("Confirmed by", sheet.confirmed_by), ("Treatment", sheet.treatment),
                ("Differential", sheet.differential), ("Discussion", sheet.discussion),
            ]  # fmt: skip
            return page(
                "case", case=sheet, outcome=[(name, value) for name, value in outcome if value],
                labels=shown_labels(sheet.labels), similar=search_from(id),
                page=case_page, picture=picture_of,
            )  # fmt: skip

        return await desk.look(made)

    @routes.get("/map")
    async def map_page(request: Request, colour: str = "", question: str = "") -> Response:
        asked = desk.kept(who_asks(request), question) if question else None

        def made() -> Response:
            assistant = desk.assistant()
            choices = choices_of(assistant)
            names = [one.field.removeprefix("label.") for one in (*choices.texts, *choices.ranges)]
            drawn = read_map(assistant.index)
            if drawn is None:
                return problem(
                    request, 404, "This index has no map, since an earlier medclip made it; run  medclip index compact."
                )
            shown = colour or next((one.field for one in choices.texts if one.field.startswith("label.")), "")
            shown = shown.removeprefix("label.")
            if shown and shown not in names:
                raise OptionError(f"colour {shown!r}: is no field; there are {', '.join(names)}")
            dots, legend = _dots(points_of(assistant.index, drawn, shown or None))
            own = None
            if asked is not None and asked.model == assistant.index.fingerprint:
                [point] = drawn.place(assistant.fuser.fuse([asked.parts]))
                own = _placed(float(point[0]), float(point[1]))
            return HTMLResponse(
                page(
                    "map", synthetic=choices.synthetic,
                    dots=dots, legend=legend, colour=shown, colours=names, own=own, question=question,
                    total=len(drawn), page=case_page,
                )
            )  # fmt: skip

        return await desk.look(made)

    @routes.get("/about")
    async def about() -> str:
        def made() -> str:
            assistant = desk.assistant()
            return page(
                "about", synthetic=choices_of(assistant).synthetic, account=account_of(assistant),
                fields=values_of(assistant.index),
                caution=OUTDATED if assistant.outdated else not_fitted_among(assistant.index),
                listed=lambda label_set, label: address("/cases", [("where", clause(f"label.{label_set}", "=", label))]),
            )  # fmt: skip

        return await desk.look(made)

    return routes
