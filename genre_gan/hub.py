"""Where model folders come from: the package, a local folder, or the Hub; and how they go there."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlparse

from genre_gan.pretrained import ModelError

CONNECT_TIMEOUT_S = 3.0
_PACKAGED_NAME = re.compile(r"[a-z0-9]+")


def packaged_weights(name: str) -> Path:
    """The folder of weights that ship inside the package."""
    return Path(str(files("genre_gan") / "weights" / name))


def hub_is_reachable() -> bool:
    """Whether a connection to the Hub opens within `CONNECT_TIMEOUT_S`: its own client tries for many seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    endpoint = urlparse(constants.ENDPOINT)
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    try:
        socket.create_connection((endpoint.hostname, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


@contextmanager
def offline_when_unreachable() -> Iterator[None]:
    """Make huggingface_hub and datasets answer from their caches at once while the Hub does not answer."""
    import datasets.config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not hub_is_reachable():
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def resolve_model_folder(source: str | os.PathLike, revision: str | None = None) -> Path:
    """A local folder with the files of `source`: a name of packaged weights such as `fcn`, a folder, or a Hub id.

    A packaged name wins over a folder of that name in the working directory: write `./fcn` for the latter.

    Raises:
        ModelError: none of the three, or a repository that cannot be reached; a `revision` of what has none.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError

    local = Path(source).expanduser()
    if isinstance(source, str) and _PACKAGED_NAME.fullmatch(source) and packaged_weights(source).is_dir():
        local = packaged_weights(source)
    if local.is_dir():
        if revision is not None:
            raise ModelError(f"revision {revision!r} is for models on the Hub, and {os.fspath(source)!r} is a local folder")
        return local
    repo_id = os.fspath(source)
    patterns = ["*.json", "*.safetensors"]
    try:
        return Path(
            snapshot_download(repo_id, revision=revision, allow_patterns=patterns, local_files_only=not hub_is_reachable())
        )
    except HFValidationError as error:
        raise ModelError(f"{repo_id!r} is neither a folder nor a Hub id like 'user/genre-gan'") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"the Hub model {repo_id!r} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"no Hub model {repo_id!r}, or no right to read it: check the id, or log in with `hf auth login`") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{repo_id!r} is no folder here, the Hub cannot be reached, and its cache has no such model") from error


def push_model_folder(folder: Path, repo_id: str, private: bool = False) -> str:
    """Upload a model folder in one commit, creating the repository if needed, and return its address.

    Raises:
        ModelError: no token, no right, or no network; what stood there before is then unchanged.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise ModelError("pushing needs a Hub token: log in with `hf auth login`, or set HF_TOKEN")
    if not hub_is_reachable():
        raise ModelError(f"the Hub cannot be reached: {folder} is kept, push it later")
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload from genre-gan")
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise ModelError(f"the Hub refused the push to {repo_id!r} ({status}): check that the token may write there") from error
    return f"{api.endpoint}/{repo_id}"
