"""The torch modules: codec, guidance, adapter. Only cloud_server, training and evaluation use them."""
