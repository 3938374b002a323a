"""OpenAI's form for programs on this device: ordinary pictures come in, streams go out."""
