"""The commented fleet.yml that `fleetctl init` writes: a fleet that loads, and every other key commented out."""

from __future__ import annotations

from importlib.resources import files

STARTER = files("fleetctl.spec").joinpath("starter.yml").read_text(encoding="utf-8")
