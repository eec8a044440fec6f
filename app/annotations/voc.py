"""Pascal VOC: an XML file per image, its objects with boxes of whole pixels counted from 1, ends included."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from app.annotations.shapes import Collector, add_shape
from app.annotations.xml_text import number, whole

NAME = "voc"


def recognises(root: ET.Element) -> bool:
    """An `annotation` with objects or a file name."""
    return root.tag == "annotation" and (root.find("object") is not None or root.find("filename") is not None)


def read(root: ET.Element, into: Collector) -> None:
    """A box per object.

    The left and upper edge of a box lie half a pixel before its first pixel's centre, so 1 becomes 0; tools
    that count from 0 are off by one pixel there, which no measure of structure notices.
    """
    size = root.find("size")
    if size is not None:
        width, height = whole(size.findtext("width")), whole(size.findtext("height"))
        if not into.is_of_size(width, height):
            return
    for source, entry in enumerate(root.iter("object")):
        box = entry.find("bndbox")
        label = (entry.findtext("name") or "").strip()[:200] or None
        if box is None:
            into.report(f"Object {source} has no bndbox.")
            continue
        left, top, right, bottom = (number(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax"))
        add_shape(into, source, label=label, box=(max(left - 1, 0.0), max(top - 1, 0.0), right, bottom))
