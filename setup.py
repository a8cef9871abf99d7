"""Energo's metadata, packages and C build.

One distribution for one application. Import packages are plain, as the folders are; those under ``tools/`` (no
package itself) are mapped by ``package_dir``. ``pyproject.toml`` has the build system and the tools' settings.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
TOOLS = find_packages("tools")

# Lower bounds are what Debian 13 ships: on a Pi the packages may come from there.
RUNTIME = [
    "cbor2>=5.6",
    "cffi>=1.17",
    "click>=8.1",
    "cryptography>=43",
    "pymodbus>=3.8",
    "pynacl>=1.5",
    "pyserial>=3.5",
    "rich>=13",
    "sdnotify>=0.3.2",
    "spake2>=0.8",
    "sqlite-utils>=3.38",
    "starlette>=0.46",
    "uvicorn>=0.32",
    "zeroconf>=0.147",
]
DEVELOPMENT = [
    "apsw>=3.46",
    "highspy>=1.9",
    "hypothesis>=6",
    "mypy>=1.15",
    "numpy>=1.26",
    "ortools>=9.12",
    "pytest>=8",
    "pytest-timeout>=2",
    "ruff>=0.11",
]

setup(
    name="energo",
    version="0.1.0",
    description="A neighborhood that makes, stores and trades its own electricity: a Raspberry Pi a home",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The Energo authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["ledger*", "firmware*", "matcher_c*"]) + TOOLS,
    package_dir={name: "tools/" + name.replace(".", "/") for name in TOOLS},
    package_data={
        "": ["*.toml", "*.pyi", "py.typed"],
        "matcher_c": ["*.h", "*.c", "*.pyi"],
        "firmware.meter": ["models/*.toml"],
        "energo_demo": ["*.toml", "data/*.md", "data/LICENSE*", "data/*/*.csv"],
    },
    setup_requires=["cffi>=1.17"],
    cffi_modules=["matcher_c/build_matcher.py:ffibuilder"],
    install_requires=RUNTIME,
    extras_require={"dev": DEVELOPMENT, "pi": ["RPi.GPIO>=0.7"]},
    entry_points={
        "console_scripts": [
            "energoctl = energoctl.main:main",
            "energo-wallet = ledger.wallet.__main__:main",
            "energo-node = ledger.node.__main__:main",
            "energo-meter = firmware.meter.__main__:main",
            "energo-der = firmware.der.__main__:main",
            "energo-panel = firmware.panel.__main__:main",
            "energo-world = energo_demo.world:main",
        ]
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
    ],
    zip_safe=False,
)
