"""Deploy the demo as a Hugging Face Space, as `Spacefile` describes it.

    python training/deploy_space.py USER/SPACE
    python training/deploy_space.py USER/SPACE --dry-run     # show what would be uploaded

Creates the Space or updates it: its variables, its hardware, and in one commit exactly the files that it needs. Push the models
that it is to use with training/push_to_hub.py; without them the app uses the weights in the package.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import yaml

from genre_gan.hub import check_can_push, commit_files, open_repo, writing_to_hub
from training.arguments import run_script

ROOT = Path(__file__).resolve().parents[1]
# What `Spacefile` has. All but the variables stand in the README's header, where hardware is called `suggested_hardware`.
SETTINGS: dict[str, type] = {
    **dict.fromkeys(("title", "emoji", "colorFrom", "colorTo", "short_description", "license", "hardware"), str),
    **dict.fromkeys(("sdk", "sdk_version", "python_version", "app_file"), str),
    **{"models": list, "datasets": list, "tags": list, "variables": dict},
}
RESULTS = (".md", ".png")  # what the About tab shows


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", metavar="USER/SPACE", help="the Space, made where it is missing")
    parser.add_argument("--private", action="store_true", help="make the Space private where it is new")
    parser.add_argument("--dry-run", action="store_true", help="show header, variables and files, and upload nothing")
    return parser.parse_args(argv)


def read_spacefile(owner: str, path: Path = ROOT / "Spacefile") -> dict[str, Any]:
    """The settings of the Space that belongs to `owner`.

    Raises:
        ValueError: not YAML, or a setting missing, unknown or of the wrong type.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8").replace("{user}", owner))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    found = set(settings) if isinstance(settings, dict) else set()
    if wrong := sorted(found ^ SETTINGS.keys()):
        raise ValueError(
            f"{path} must have exactly these settings: {', '.join(sorted(SETTINGS))}; missing or unknown: {', '.join(wrong)}"
        )
    for name, kind in SETTINGS.items():
        if not isinstance(settings[name], kind):
            raise ValueError(f"{path}: {name} must be a {kind.__name__}, got {settings[name]!r}; put versions in quotes")
    return settings


def space_readme(settings: dict[str, Any], readme: str) -> str:
    """The project's README under the header that tells the Hub how to run the Space."""
    values = {name: value for name, value in settings.items() if name != "variables"}
    values["suggested_hardware"] = values.pop("hardware")
    header = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    body = re.sub(r"^---\n.*?\n---\n+", "", readme, flags=re.DOTALL)
    return f"---\n{header}---\n\n{body}"


def space_files(settings: dict[str, Any], root: Path = ROOT) -> dict[str, bytes | Path]:
    """Every file of the Space by its path there: the app, the package with its weights, and the results that the app or the
    README show.
    """
    readme = (root / "README.md").read_text(encoding="utf-8")
    package = [path for path in (root / "genre_gan").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    results = [path for path in (root / "training" / "results").rglob("*") if path.suffix in RESULTS]
    linked = [root / name for name in re.findall(r"\]\(([\w./-]+)\)", readme) if (root / name).is_file()]
    chosen = {root / settings["app_file"], root / "requirements.txt", root / "LICENSE", *package, *results, *linked}
    contents: dict[str, bytes | Path] = {p.relative_to(root).as_posix(): p for p in sorted(chosen) if not p.name.startswith(".")}
    contents["README.md"] = space_readme(settings, readme).encode()
    return contents


def deploy(args: argparse.Namespace) -> None:
    settings = read_spacefile(args.space.partition("/")[0])
    contents = space_files(settings)
    if args.dry_run:
        print(space_readme(settings, "").rstrip())
        print("\n".join(f"{name}={value}" for name, value in settings["variables"].items()))
        print("\n".join(sorted(contents)))
        return
    check_can_push(args.space)
    with writing_to_hub(args.space) as api:
        open_repo(api, args.space, "space", args.private, space_sdk=settings["sdk"])
        there = {name: variable.value for name, variable in api.get_space_variables(args.space).items()}
        for name, value in settings["variables"].items():
            if there.get(name) != value:
                api.add_space_variable(args.space, name, value)
        runtime = api.get_space_runtime(args.space)
        if settings["hardware"] != (runtime.requested_hardware or runtime.hardware or "cpu-basic"):
            api.request_space_hardware(args.space, settings["hardware"])
        address = commit_files(api, args.space, "space", contents, is_stale=lambda path: True)
    print(f"deployed to {address}")


def main(argv: list[str] | None = None) -> None:
    run_script(deploy, parse_args(argv))


if __name__ == "__main__":
    main()
