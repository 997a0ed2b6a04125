"""Ansible reads from the secrets file what fleetctl wrote into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fleetctl.adapters import secrets
from fleetctl.spec.load import load

# What YAML or Ansible would take for something else.
HARD = {
    "TEMPLATE": "{{ 1 + 1 }} {% raw %} {# x #}",
    "LINES": "-----BEGIN KEY-----\na: b\n-----END KEY-----",
    "YES": "yes",
    "NUMBER": "0755",
    "QUOTES": "'\"\\ # !vault äß",
}


def test_ansible_reads_every_secret_as_it_is(tmp_path: Path) -> None:
    spec_file = tmp_path / "fleet.yml"
    references = "".join(f"    {name}: env:{name}\n" for name in HARD)
    spec_file.write_text(f"""\
name: demo
provider: {{kind: local}}
pools: {{worker: {{count: 1, concurrency: 1}}}}
app:
  secrets:
{references}""")
    made = secrets.ensure(load(spec_file), tmp_path / "state", environ=HARD, spec_file=spec_file)
    playbook = tmp_path / "play.yml"
    playbook.write_text(f"""\
- hosts: localhost
  gather_facts: false
  vars_files: [{made.path}]
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ {{'app': fleet_secret_app, 'password': fleet_secret_postgres_password}} | to_json }}}}"
        dest: {tmp_path}/seen.json
        mode: "0600"
""")
    run = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)],
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["app"] == HARD
    assert seen["password"] == secrets.read(made.path)["fleet_secret_postgres_password"].get_secret_value()
