"""Machines for molecule: `machines.py up|down ROLE DIRECTORY`.

Boots one machine of the local provider for a role, in a fleet that no other role or checkout has, and writes the
inventory with its pinned host key below molecule's directory; `down` removes all of it, and `up` first removes what an
earlier run has left.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.model import Event, HostRequest

KERNEL_OF_THEIR_OWN = ("nfs_client", "nfs_server")  # NFS needs one
CHECKOUT = hashlib.sha256(str(Path(__file__).resolve().parent).encode()).hexdigest()[:6]


def main() -> None:
    verb, role, directory = sys.argv[1:]
    name = role.replace("_", "-")
    kind = "uml" if role in KERNEL_OF_THEIR_OWN else "nspawn"
    provider = LocalProvider(f"m-{CHECKOUT}-{name}", machines=kind)
    provider.destroy(_tell)
    if verb == "down":
        return
    (host,) = provider.launch([HostRequest(name, ("nfs",) if role == "nfs_server" else ("workers",))], _tell)
    known_hosts = Path(directory) / "known_hosts"
    known_hosts.write_text("".join(f"{host.address} {key}\n" for key in host.host_keys))
    inventory = {
        "all": {
            "hosts": {
                name: {
                    "ansible_host": host.address,
                    "ansible_user": host.user,
                    "ansible_ssh_private_key_file": str(host.key_file),
                    "ansible_ssh_common_args": f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={known_hosts}",
                }
            }
        }
    }
    # JSON is YAML; molecule gives Ansible every file of this directory.
    (Path(directory) / "inventory" / "machines.yml").write_text(json.dumps(inventory, indent=2))


def _tell(event: Event) -> None:
    if event.message:
        print(f"{event.phase}: {event.host or ''} {event.message}", file=sys.stderr)  # noqa: T201  what molecule shows


if __name__ == "__main__":
    main()
