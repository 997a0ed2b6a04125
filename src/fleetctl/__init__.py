"""fleetctl: turn bare VMs into a Celery worker fleet, and keep it healthy."""
