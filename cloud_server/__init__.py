"""The service: bitstream and question in, answer out. `cloud_server.app.create_app` is the door."""
