"""What stands above everything else on a page where a judge without a licence had a part."""

from __future__ import annotations

from collections.abc import Mapping

from treadle.report.markup import Safe, tag


def stamp(found: object) -> Safe | None:
    """Return one line a judge, or nothing where no judge was asked without a licence."""
    if not isinstance(found, list) or not found:
        return None
    told = [one.get("sentence") if isinstance(one, Mapping) else one for one in found]
    lines = [tag("p", tag("strong", str(one))) for one in told]
    return tag("div", *lines, class_="stamp", role="alert", id="unlicensed")
