"""How the service is watched: logs, metrics, tracing."""
