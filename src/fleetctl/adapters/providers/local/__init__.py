"""Machines on this computer: real systemd hosts, made in seconds, without an account."""

from fleetctl.adapters.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
