"""Where model folders come from: the package, a local folder, or the Hub; and how they go there, each push one commit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genre_gan.audio import SUFFIXES
from genre_gan.data.tree import ARCHIVE_SUFFIXES
from genre_gan.download import MAX_MODEL_BYTES, SOMETHING_ELSE, HubError, Unreachable, ask, check_token, explain, fetch_repo
from genre_gan.files import file_names
from genre_gan.pretrained import CONFIG_NAME, WEIGHTS_NAME, ModelError, read_config, read_weights

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CURVE_NAME = "learning_curve.png"
SAMPLES_FOLDER = "samples"
SETTINGS_NAME = "args.json"  # a training run's folder has it
_PACKAGED_NAME = re.compile(r"[a-z0-9]+")
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def packaged_weights(name: str) -> Path:
    """The folder of weights that ship inside the package."""
    return Path(str(files("genre_gan") / "weights" / name))


def resolve_model_folder(source: str | os.PathLike, revision: str | None = None) -> Path:
    """A local folder with the files of `source`: a name of packaged weights such as `fcn`, a folder, or a Hub id.

    A packaged name wins over a folder of that name in the working directory: write `./fcn` for the latter.

    Args:
        revision: a branch, tag or commit of the Hub repository; None is its newest state.

    Raises:
        ModelError: none of the three, or a repository that cannot be reached or read; a `revision` of what has none.
    """
    local = Path(os.path.expanduser(source))  # which leaves a user that is not there as it is
    if isinstance(source, str) and _PACKAGED_NAME.fullmatch(source) and packaged_weights(source).is_dir():
        local = packaged_weights(source)
    if local.is_dir():
        if revision is not None:
            raise ModelError(f"revision {revision!r} is for models on the Hub, and {os.fspath(source)!r} is a local folder")
        return local
    try:
        return fetch_repo(os.fspath(source), ("*.json", "*.safetensors"), revision=revision, max_bytes=MAX_MODEL_BYTES)
    except HubError as error:
        raise ModelError(str(error)) from error


def load_model(
    source: str | os.PathLike | None, revision: str | None, default: str, classes: Mapping[str, Any]
) -> tuple[Any, Path]:
    """The model of a packaged name, a folder or a Hub id, and the folder that it lay in; packaged `default` where none is given.

    Args:
        classes: for each family that will do, the class whose `load` reads a folder.

    Raises:
        ModelError: nothing there, damaged, or of another family; a `revision` of what has none.
    """
    folder = resolve_model_folder(default if source is None else source, revision)
    family = read_config(folder)["family"]
    if family not in classes:
        raise ModelError(f"{folder} holds a model of the family {family!r}, wanted one of {', '.join(classes)}")
    return classes[family].load(folder), folder


def download_dataset(repo_id: str) -> Path:
    """The folder of a Hub data set's tables and sound.

    Raises:
        HubError: not there, not given, or out of reach.
    """
    suffixes = (*SUFFIXES, ".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", *ARCHIVE_SUFFIXES)
    return fetch_repo(repo_id, [f"*{suffix}" for suffix in suffixes], "dataset")


def check_can_push(repo_id: str) -> None:
    """Raise `HubError` where a push to `repo_id` is hopeless from the start: not an id, or no token. No network is used."""
    from huggingface_hub import get_token

    if not _REPO_ID.fullmatch(repo_id):
        raise HubError(f"a Hub repository is named like 'user/genre-gan', got {repo_id!r}")
    if get_token() is None:
        raise HubError("pushing needs a Hub token: log in with `hf auth login`, or set HF_TOKEN")
    check_token()


@contextmanager
def writing_to_hub(repo_id: str) -> Iterator[HfApi]:
    """Give the Hub's client, and turn whatever it raises in the block into a `HubError` in plain words.

    Raises:
        HubError: no id, no token, no right, no network, refused, broken off. Commits are whole or not at all.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    check_can_push(repo_id)
    try:
        if "name" not in ask("whoami-v2"):
            raise Unreachable(SOMETHING_ELSE)
        yield HfApi()
    except Unreachable as error:
        kept = "all is kept here: push it later"
        raise HubError(f"the Hub cannot be reached, so nothing was pushed to {repo_id!r}; {kept} ({error})") from error
    except HubError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:  # what its HTTP, storage and checking parts raise
        raise HubError(f"the push to {repo_id!r} failed and left no half-made revision there: {explain(error)}") from error


def open_repo(
    api: HfApi, repo_id: str, repo_type: str, private: bool = False, revision: str | None = None, space_sdk: str | None = None
) -> None:
    """Create the repository, and the branch `revision`, where they are missing.

    Raises:
        HubError: `private` asked for and the repository stands there in public.
    """
    api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=space_sdk)
    if private and not api.repo_info(repo_id, repo_type=repo_type).private:
        raise HubError(f"{repo_id!r} is public already: make it private in its settings on the Hub, or leave out --private")
    if revision not in (None, "main"):
        api.create_branch(repo_id, repo_type=repo_type, branch=revision, exist_ok=True)


def commit_files(
    api: HfApi,
    repo_id: str,
    repo_type: str,
    contents: Mapping[str, bytes | Path],
    is_stale: Callable[[str], bool],
    revision: str | None = None,
) -> str:
    """Bring `contents` (path in the repository: bytes or a local file) there in one commit, and return the address.

    Files there that `contents` lacks are deleted where `is_stale` says so. Where nothing changes, no commit is made.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    operations += [CommitOperationAdd(path, data) for path, data in sorted(contents.items())]
    gone = (path for path in there if path not in contents and path != ".gitattributes" and is_stale(path))
    operations += [CommitOperationDelete(path) for path in gone]
    api.create_commit(repo_id, operations, repo_type=repo_type, revision=revision, commit_message="Upload from genre-gan")
    prefix = "" if repo_type == "model" else f"{repo_type}s/"
    return f"{api.endpoint}/{prefix}{repo_id}" + (f"/tree/{revision}" if revision else "")


def push_model_folder(
    folder: Path,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    samples: Mapping[str, bytes | Path] | None = None,
    license_id: str | None = None,
) -> str:
    """Upload a model folder with a model card in one commit, creating the repository if needed, and return its address.

    The models in its subfolders (a generator's codec) go along. From the folder of the run that trained it
    come the picture of its learning curve and the newest previews, where they are.

    Args:
        private: make a repository that is new visible to its owner alone.
        revision: the branch to push to, made where it is missing; None is the main one.
        samples: sound files to show, `{"blues.wav": ...}`, instead of the run's previews.
        license_id: what the Hub calls the weights' licence, such as `cc-by-4.0`; None says that it follows from the data.

    Raises:
        ModelError: the folder holds no whole model.
        HubError: no token, no right, no network, or refused; what stood there before is then unchanged.
    """
    from genre_gan.model_card import model_card

    folder = Path(folder)
    contents = _model_files(folder)
    if (_run_folder(folder) / CURVE_NAME).is_file():
        contents[CURVE_NAME] = _run_folder(folder) / CURVE_NAME
    shown = newest_previews(folder) if samples is None else samples
    contents |= {f"{SAMPLES_FOLDER}/{name}": sound for name, sound in shown.items()}
    card = model_card(read_config(folder), sorted(contents), repo_id, revision, license_id)
    contents["README.md"] = card.encode()
    with writing_to_hub(repo_id) as api:
        open_repo(api, repo_id, "model", private, revision)
        return commit_files(api, repo_id, "model", contents, _is_part_of_a_model, revision)


def _model_files(folder: Path) -> dict[str, bytes | Path]:
    """Config and weights of the model in `folder` and of those below it, each found whole."""
    parts = [folder, *sorted(path.parent for path in folder.glob(f"*/{CONFIG_NAME}"))]
    for part in parts:
        read_weights(part, read_config(part))
    return {(part / name).relative_to(folder).as_posix(): part / name for part in parts for name in (CONFIG_NAME, WEIGHTS_NAME)}


def _is_part_of_a_model(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return name in (CONFIG_NAME, WEIGHTS_NAME, CURVE_NAME) or folder == SAMPLES_FOLDER


def _run_folder(folder: Path) -> Path:
    return folder.parent if (folder.parent / SETTINGS_NAME).is_file() else folder


def newest_previews(folder: Path) -> dict[str, Path]:
    """The newest preview clip of each genre, `{"blues.wav": path}`, from the run that trained the model in `folder`.

    Nothing else that lies there: it may be recordings that others own.
    """
    genres = read_config(folder)["model"].get("genres", ())
    steps = sorted((_run_folder(folder) / "previews").glob("step-*"))
    names = [f"{name}.wav" for name in file_names(genres)]
    return {name: steps[-1] / name for name in names if steps and (steps[-1] / name).is_file()}
