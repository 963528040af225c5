"""The dashboards, from Python: `python -m grafana` writes grafana/dashboards/*.json (`make generate`)."""
