"""Settings that events of the page share."""

AT_ONCE = 2  # uses of the models
ON_MODELS = {"concurrency_id": "models", "concurrency_limit": AT_ONCE}
PRIVATE = {"api_visibility": "private"}
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
