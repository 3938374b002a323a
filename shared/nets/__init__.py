"""The torch modules: codec, guidance, adapter. For cloud_server, training and evaluation."""
