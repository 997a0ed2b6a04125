"""The outside world behind the ports: providers, SSH, Ansible, files."""
