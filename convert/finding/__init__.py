"""Where backbones lie in a file, under which names, and the proof that one is whole and trained."""
