"""Who says whether a decoded picture still serves: language models and their questions."""
