"""The engine, loaded: what of the extension module the package shows."""

from pagesight import _pagesight
from pagesight._pagesight import Heatmap, Image, QueryVectors, Vectors

__all__ = ["Heatmap", "Image", "QueryVectors", "Vectors", "__version__"]

__version__ = _pagesight.version()
