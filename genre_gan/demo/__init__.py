"""The page: three tabs, two endpoints, and the limits that strangers need. Only this package imports gradio."""

import inspect
from typing import Any

_getfile = inspect.getfile


def _getfile_of_others(object: Any) -> str:
    if getattr(object, "__module__", "").startswith("gradio."):
        raise OSError("not asked for")
    return _getfile(object)


# While it is imported, gradio parses the source of each of its components to write stubs for editors, which takes a third of the
# time until the page is up. It leaves out what is in no file.
inspect.getfile = _getfile_of_others
try:
    import gradio  # noqa: F401
finally:
    inspect.getfile = _getfile
