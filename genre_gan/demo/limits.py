"""How much strangers may ask for, and settings that events of the page share."""

from typing import Any

MAX_UPLOAD_MB, MAX_UPLOAD_S = 50, 30 * 60
MAX_FILES = 50  # at once
MAX_DOWNLOADS = 28  # clips in one zip file: the page keeps 24, four that were just made, and more only where all are starred
MAX_BODY_BYTES = 1_000_000  # of a request that is no upload
MAX_CACHE_BYTES = 4_000_000_000
CACHE_CHECK_S, CACHE_AGE_S = 600, 7_200
MAX_SESSIONS = 100  # whose state is kept, with what was being made where a visitor left
AT_ONCE, IN_QUEUE = 2, 32  # uses of the models

ON_MODELS: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": AT_ONCE}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
