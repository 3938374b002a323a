"""CLIP and LLaVA of Scenes, and all that is special to that world."""
