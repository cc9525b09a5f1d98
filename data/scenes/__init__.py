"""The demo's scenes: digits painted into pictures, in the layouts of the published sets."""
