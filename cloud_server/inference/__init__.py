"""From a stream and a question to an answer: decoder, adapter, engine, worker, language models."""
