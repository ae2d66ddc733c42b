"""Find the boxes of a figure's texts, to test that no text is cut off or covered."""

import itertools
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SLACK = 1.0  # pixels by which a text may stick out, because of anti-aliasing


def text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return each visible text of a figure, with its box in pixels."""
    if figure.stale:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # another call need not do the layout again
        figure.stale = False
    beyond = set(_ticks_beyond(figure))
    return [
        (text.get_text(), Text.get_window_extent(text))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in beyond
    ]


def _ticks_beyond(figure: Figure) -> Iterator[int]:
    """Yield the ids of tick labels that are not drawn, e.g. beyond an axis' end."""
    for ax in figure.findobj(lambda artist: hasattr(artist, "get_xaxis")):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                inside = low - slack <= tick.get_loc() <= high + slack
                if not (inside and ax.axison and ax.get_visible()):
                    yield from (id(tick.label1), id(tick.label2))


def cut_texts(figure: Figure) -> list[str]:
    """Return the texts that are partly outside the figure."""
    edge = figure.bbox.padded(SLACK)
    return [
        text
        for text, box in text_boxes(figure)
        if not (edge.x0 <= box.x0 and box.x1 <= edge.x1)
        or not (edge.y0 <= box.y0 and box.y1 <= edge.y1)
    ]


def covered_texts(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(text_boxes(figure), 2)
        if a.padded(-SLACK).overlaps(b.padded(-SLACK))
    ]
