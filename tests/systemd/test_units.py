"""The unit files: hardened as far as promised, understood by systemd, and never without asserts.

The analysis runs where `systemd-analyze` knows how to look at a file offline; elsewhere it is skipped with a reason.
"""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROCESSES = ("energo-der", "energo-meter", "energo-node", "energo-panel", "energo-wallet")
EXPOSURE_MAX = {"energo-wallet": 10}  # tenths; the others:
EXPOSURE_DEFAULT_MAX = 20


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze`, without a bus."""
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def offline_reason() -> str | None:
    """Why units cannot be analyzed here, or None when they can."""
    if shutil.which("systemd-analyze") is None:
        return "systemd-analyze is not installed"
    probe = analyze("security", "--offline=true", "--threshold=100", str(UNITS[0]))
    return None if probe.returncode == 0 else f"systemd-analyze cannot look offline: {probe.stderr.strip()[:200]}"


def directives(unit: Path) -> dict[str, str]:
    """The [Service] section; the last of a repeated directive."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return dict(parser["Service"])


def test_there_is_a_unit_for_each_process() -> None:
    assert tuple(unit.stem for unit in UNITS) == PROCESSES


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_exposure_stays_below_its_threshold(unit: Path) -> None:
    if reason := offline_reason():
        pytest.skip(reason)
    threshold = EXPOSURE_MAX.get(unit.stem, EXPOSURE_DEFAULT_MAX)
    result = analyze("security", "--offline=true", f"--threshold={threshold}", str(unit))
    assert result.returncode == 0, result.stdout[-2_000:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    if reason := offline_reason():
        pytest.skip(reason)
    for other in UNITS:  # so that what they name each other is found; the programs are installed elsewhere
        text = other.read_text().replace(f"/usr/lib/energo/bin/{other.stem}", "/bin/true")
        (tmp_path / other.name).write_text(text)
    result = analyze("verify", "--man=no", str(tmp_path / unit.name))
    complaints = [line for line in result.stderr.splitlines() if str(tmp_path) in line or unit.name in line]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_asserts_stay_on(unit: Path) -> None:
    service = directives(unit)
    words = service["ExecStart"].split()
    assert words == [
        f"/usr/lib/energo/bin/{unit.stem}",
        "--config",
        f"/etc/energo/{unit.stem.removeprefix('energo-')}.toml",
    ]
    assert "PYTHONOPTIMIZE" in service["UnsetEnvironment"].split()
    assert "PYTHONOPTIMIZE" not in service["Environment"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_process_is_a_user_of_its_own_that_sysusers_makes(unit: Path) -> None:
    service = directives(unit)
    lines = [line.split() for line in (FOLDER / "energo.sysusers").read_text().splitlines() if line[:1] in "ug"]
    made = {words[1] for words in lines if words}
    assert service["User"] == unit.stem
    assert {unit.stem, *service.get("SupplementaryGroups", "").split()} <= made


def test_who_has_keys_has_no_network_and_who_has_a_network_has_no_keys() -> None:
    wallet = directives(FOLDER / "energo-wallet.service")
    assert wallet["PrivateNetwork"] == "yes"
    assert wallet["PrivateDevices"] == "yes"
    assert wallet["RestrictAddressFamilies"] == "AF_UNIX"
    node = directives(FOLDER / "energo-node.service")
    assert node["PrivateDevices"] == "yes"
    assert "energo-wallet" not in node.get("ReadWritePaths", "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_every_program_is_installed_by_setup(unit: Path) -> None:
    assert f'"{unit.stem} = ' in (FOLDER.parent / "setup.py").read_text()
