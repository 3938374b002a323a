"""Raw records, plots, and the documents that are made from them."""
