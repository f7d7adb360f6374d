"""Repositories of the Hub as local folders: what it answers within a time limit, or else what the cache holds.

The Hub's own client waits and tries again for minutes where a server accepts a connection and says nothing. So every call to it
runs in a thread that is given up after a time limit; nothing of that client is changed for others.
"""

from __future__ import annotations

import fnmatch
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

FIRST_ANSWER_S = 10.0
STALL_S = 30.0  # of a download in which not a byte arrives
MAX_MODEL_BYTES = 4 * 2**30
SOMETHING_ELSE = "something else answers in its place, perhaps the login page of a network"

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class HubError(ValueError):
    """A pull or a push that cannot start or did not succeed. The message is fit for users."""


class Unreachable(Exception):
    """The Hub gives no answer, or something else answers in its place. The message says what happened."""


def within(limit_s: float, function: Callable[[], Result], sign_of_life: Callable[[], Any] = lambda: None) -> Result:
    """What `function` returns, or `Unreachable` once `sign_of_life` has given the same value for `limit_s` seconds."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    last, since = sign_of_life(), time.monotonic()
    while True:
        try:
            return future.result(timeout=min(1.0, limit_s))
        except FutureTimeoutError:
            if future.done():
                raise
            if (sign := sign_of_life()) != last:
                last, since = sign, time.monotonic()
            if time.monotonic() - since >= limit_s:
                raise Unreachable(f"no answer within {limit_s:g} s") from None


def ask(path: str, **parameters: str) -> dict:
    """The Hub's answer to a question, within `FIRST_ANSWER_S`.

    Raises:
        Unreachable: no answer in time, none that the Hub would give, or that it is overloaded.
        huggingface_hub.errors.HfHubHTTPError: it refuses.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    if constants.HF_HUB_OFFLINE:
        raise Unreachable("HF_HUB_OFFLINE is set")
    check_token()

    def get() -> dict:
        response = get_session().get(
            f"{constants.ENDPOINT}/api/{path}", params=parameters, headers=build_hf_headers(), timeout=FIRST_ANSWER_S + 1,
            follow_redirects=True,
        )
        if response.status_code == 429 or response.status_code >= 500:
            raise Unreachable(f"it answers {response.status_code}: it is overloaded or under repair")
        hf_raise_for_status(response)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable(SOMETHING_ELSE)
        return answer

    try:
        return within(FIRST_ANSWER_S, get)
    except (HfHubHTTPError, HubError, Unreachable):
        raise
    except Exception as error:  # a proxy or an address that is none raises of any type
        raise Unreachable(str(error).strip().partition("\n")[0] or type(error).__name__) from error


def check_token() -> None:
    """Raise `HubError` for a token that cannot be sent: a pasted line break, a blank, or letters that no token has."""
    from huggingface_hub import get_token

    token = get_token()
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise HubError("the Hub token has characters that no token has: log in again with `hf auth login`, or set HF_TOKEN anew")


def fetch_repo(
    repo_id: str,
    patterns: Sequence[str],
    repo_type: str = "model",
    revision: str | None = None,
    max_bytes: int | None = None,
) -> Path:
    """The folder of a repository's files, downloaded or from the cache.

    Args:
        patterns: of the files that are wanted, such as `*.json`.
        revision: a branch, tag or commit; None is the newest state.
        max_bytes: refuse a repository whose wanted files are larger.

    Raises:
        HubError: the Hub does not have or give it, or cannot be reached while the cache does not have it.
    """
    from huggingface_hub import errors, snapshot_download

    if revision is not None and not revision.strip():
        raise HubError(f"revision must be a branch, a tag or a commit, or None for the newest state, got {revision!r}")
    wanted = revision or "main"
    arguments = {"repo_type": repo_type, "revision": revision, "allow_patterns": list(patterns)}
    try:
        cached = _cached(repo_id, arguments)
        try:
            found = ask(f"{repo_type}s/{repo_id}/revision/{quote(wanted, safe='')}", blobs="true")
            if not isinstance(found.get("sha"), str):
                raise Unreachable(SOMETHING_ELSE)
            files = [f for f in found.get("siblings") or () if any(fnmatch.fnmatch(f["rfilename"], p) for p in patterns)]
            _check_size(repo_id, files, max_bytes)
            if cached and cached.name == found.get("sha") and all((cached / f["rfilename"]).exists() for f in files):
                return cached
            try:
                download = partial(snapshot_download, repo_id, **arguments)
                return Path(within(STALL_S, download, partial(_bytes_there, repo_id, repo_type)))
            except (AttributeError, KeyError, TypeError) as error:  # the client trusts that answers are as they should be
                raise Unreachable(SOMETHING_ELSE) from error
        except Unreachable as error:
            if cached is None:
                raise HubError(
                    f"{repo_id!r} is no folder here, the Hub cannot be reached, and its cache has no such {repo_type} "
                    f"(revision {wanted!r}): {error}"
                ) from error
            logger.warning("the Hub cannot be reached (%s): %s comes from the cache", error, repo_id)
            return cached
    except errors.HFValidationError as error:
        raise HubError(f"{repo_id!r} is neither a folder nor a Hub id like 'user/genre-gan'") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"the Hub {repo_type} {repo_id!r} has no revision {wanted!r}") from error
    except errors.GatedRepoError as error:
        raise HubError(f"the Hub {repo_type} {repo_id!r} is gated: ask on its page, and log in: `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"no Hub {repo_type} {repo_id!r}, or no right to read it: {_advice()}") from error
    except (errors.HTTPError, OSError) as error:
        raise HubError(f"the Hub {repo_type} {repo_id!r} could not be fetched: {explain(error)}. Try again") from error


def _cached(repo_id: str, arguments: dict) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, local_files_only=True, **arguments))
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None


def _check_size(repo_id: str, files: Sequence[dict], max_bytes: int | None) -> None:
    n_bytes = sum(file.get("size") or 0 for file in files)
    if max_bytes is not None and n_bytes > max_bytes:
        raise HubError(f"{repo_id!r} has {n_bytes / 2**30:.1f} GiB of files; at most {max_bytes / 2**30:g} GiB are fetched")


def _bytes_there(repo_id: str, repo_type: str) -> int:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=repo_type) / "blobs"
    n_bytes = 0
    for path in folder.glob("*"):
        try:
            n_bytes += path.stat().st_size
        except OSError:  # just renamed
            n_bytes += 1
    return n_bytes


def _advice() -> str:
    from huggingface_hub import get_token

    if get_token() is None:
        return "check the id, or if it is private, log in: `hf auth login`"
    return "check the id; if it is private, this token's owner must be allowed to read it"


def explain(error: BaseException) -> str:
    """Say in words why the Hub's client raised `error`; the cause may lie several exceptions deep."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    answered = next((response for e in chain if (response := getattr(e, "response", None)) is not None), None)
    if answered is None:
        texts = [str(e).strip().splitlines()[0].rstrip(".") for e in chain[:2] if str(e).strip()]
        return ": ".join(dict.fromkeys(texts)) or f"the connection broke off ({type(chain[-1]).__name__})"
    if answered.status_code == 401:
        return "the Hub does not know this token; log in again with `hf auth login`, or set HF_TOKEN anew"
    if answered.status_code == 403:
        return "this token has no right to do that; use one that has, or ask the owner"
    said = answered.headers.get("X-Error-Message")
    return f"the Hub answered {answered.status_code}" + (f" ({said.rstrip('.')})" if said else "")
