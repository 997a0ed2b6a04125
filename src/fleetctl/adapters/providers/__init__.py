"""Where hosts come from. Each module implements the host ports of fleetctl.ports."""
