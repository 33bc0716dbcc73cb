"""The simulator runs under the system's Python (it needs ``gi``), so it is never imported here."""

collect_ignore = ["camera_server.py"]
