"""The edge's side of HTTP: questions, answers, retries, bundles."""
