"""A finished detection trial looks at one image: its detections as plain values, and a picture of them.

twinbench data make scenes --scale 0.05
twinbench detection demo-voc0712-frcnn-c4@digits random scenes/VOCdevkit results/digits
python draw_a_detection.py results/digits photograph.jpg found.png
"""

import sys
from pathlib import Path

from twinbench.data.decode import read_upright
from twinbench.detection.predicting import detect, drawn
from twinbench.detection.trained import load_trained

trial, photograph, picture = map(Path, sys.argv[1:])
trained = load_trained(trial, device="cpu", threshold=0.2)
image = read_upright(photograph)
found = detect(trained, image)
for one in found:
    left, top, right, bottom = (round(side) for side in one["bbox"])
    print(f"{trained.classes[one['category_id']]} {one['score']:.2f} at {left},{top} to {right},{bottom}")
drawn(image, found, trained.classes).save(picture)
