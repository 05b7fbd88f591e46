"""The checkout that the tests run in: where it is, and what its setup.cfg says."""

import configparser
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def setup_cfg() -> configparser.ConfigParser:
    """The package's metadata."""
    parser = configparser.ConfigParser()
    parser.read(f"{ROOT}/setup.cfg", encoding="utf-8")
    return parser


def console_scripts() -> dict[str, str]:
    """Entry point by name of the console script."""
    lines = setup_cfg()["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): target.strip() for name, _, target in (line.partition("=") for line in lines)}
