"""The demo goes to a Space."""

import contextlib
import re
import socket
import subprocess
import sys
import time

import pytest
import yaml

from tests.hub.calls import (
    ROOT,
    printed,
)
from training import deploy_space


def test_the_space_has_what_it_needs_runs_and_is_updated(hub, client, environment, tmp_path):
    assert f"deployed to {hub.url}/spaces/anna/demo" in client(printed, deploy_space.main, "anna/demo")
    space, files = hub.repos["space", "anna/demo"], hub.files("anna/demo", "space")
    assert (space.sdk, space.hardware) == ("gradio", "cpu-basic")
    assert space.variables == {"GENRE_GAN_MODEL": "anna/genre-gan-mel", "GENRE_GAN_CLASSIFIER": "anna/genre-gan-classifier"}
    linked = set(re.findall(r"\]\(((?:tests|training)/[\w./-]+)\)", files["README.md"].decode()))
    assert linked and linked <= set(files)
    outside = {path for path in files if not path.startswith(("genre_gan/", "training/results/", "tests/screenshots/"))}
    assert outside == {"app.py", "requirements.txt", "LICENSE", "README.md"}
    assert not any("__pycache__" in path or path.endswith((".wav", ".mp3")) for path in files)
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    del offline["PYTHONPATH"]
    with subprocess.Popen(command, cwd=tmp_path, env=offline, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as app:
        try:
            assert answers(port, app), app.stdout.read().decode()
        finally:
            app.kill()
    commits = space.branches["main"]
    client(printed, deploy_space.main, "anna/demo")
    assert len(commits) == 2
    space.commit("main", "by hand", commits[-1].files | {"tests/left.py": b""})
    client(printed, deploy_space.main, "anna/demo")
    assert hub.files("anna/demo", "space") == files


def answers(port: int, app: subprocess.Popen, seconds: float = 120.0) -> bool:
    """Whether the app takes connections before it ends or time is up."""
    until = time.monotonic() + seconds
    while app.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
        time.sleep(0.2)
    return False


def test_the_space_agrees_with_this_project():
    import gradio
    from huggingface_hub import SpaceHardware
    from packaging.requirements import Requirement
    from packaging.version import Version

    settings = deploy_space.read_spacefile("anna")
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    requirements = {requirement.name: requirement for requirement in map(Requirement, lines)}  # no `-e .`, no option, no address
    assert all(requirement.url is None for requirement in requirements.values())
    on_space, tested = Version(settings["sdk_version"]), Version(gradio.__version__)
    assert on_space in requirements["gradio"].specifier
    assert on_space.major == tested.major and on_space <= tested, f"set sdk_version in Spacefile to {tested}"
    header = yaml.safe_load(deploy_space.space_readme(settings, "---\nold: header\n---\n# Title\n").split("---")[1])
    assert header["sdk_version"] == settings["sdk_version"]
    assert header["models"] == ["anna/genre-gan-mel", "anna/genre-gan-classifier"]
    # what the Hub takes: https://huggingface.co/docs/hub/spaces-config-reference
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {header["colorFrom"], header["colorTo"]} <= colours and len(header["short_description"]) <= 60
    assert header["app_file"] == "app.py" and (ROOT / header["app_file"]).is_file()
    assert header["suggested_hardware"] in {hardware.value for hardware in SpaceHardware}
    assert header["suggested_hardware"] == settings["hardware"] and "old" not in header and "variables" not in header


def test_a_dry_run_shows_header_variables_and_files_without_a_network(capsys):
    deploy_space.main(["anna/demo", "--dry-run"])
    shown = capsys.readouterr().out
    assert shown.startswith("---\ntitle: genre-gan\n") and "suggested_hardware: " in shown and "GENRE_GAN_MODEL=" in shown
    assert "\ngenre_gan/weights/mel/model.safetensors\n" in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: genre-gan\n", ""), "missing or unknown: title"),
        (('"6.31.0"', "6.31"), "sdk_version must be a str"),
        (("[", "[["), "not valid"),
    ],
)
def test_a_wrong_spacefile_is_explained(tmp_path, change, message):
    (tmp_path / "Spacefile").write_text((ROOT / "Spacefile").read_text().replace(*change))
    with pytest.raises(ValueError, match=message):
        deploy_space.read_spacefile("anna", tmp_path / "Spacefile")
