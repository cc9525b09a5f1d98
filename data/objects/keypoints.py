"""The keypoints that can be measured: COCO's 17 of a person, whose weights in the evaluation are known.

OKS weighs each keypoint by how well people agree on it; for other keypoints nobody has measured that.
"""

from twinbench.data.errors import DataError
from twinbench.data.objects.split import KeypointNames

# cocoapi, PythonAPI/pycocotools/cocoeval.py, Params.setKpParams: kpt_oks_sigmas
_SIGMAS = {
    "nose": 0.026,
    "left_eye": 0.025,
    "right_eye": 0.025,
    "left_ear": 0.035,
    "right_ear": 0.035,
    "left_shoulder": 0.079,
    "right_shoulder": 0.079,
    "left_elbow": 0.072,
    "right_elbow": 0.072,
    "left_wrist": 0.062,
    "right_wrist": 0.062,
    "left_hip": 0.107,
    "right_hip": 0.107,
    "left_knee": 0.087,
    "right_knee": 0.087,
    "left_ankle": 0.089,
    "right_ankle": 0.089,
}
PERSON = KeypointNames(
    tuple(_SIGMAS),
    tuple((name, name.replace("left", "right")) for name in _SIGMAS if name.startswith("left")),
    tuple(_SIGMAS.values()),
)


def keypoint_names(where: str, names: object) -> KeypointNames:
    """Return what is known of a category's keypoints; DataError for any but COCO's 17."""
    found = tuple(names) if isinstance(names, list) else ()
    if found == PERSON.names:
        return PERSON
    told = ", ".join(map(str, found[:3])) or "none named"
    raise DataError(
        f"{where}: {len(found)} keypoints ({told}, ...); expected COCO's 17 of a person, nose to right_ankle: how far "
        "off a point may be is known of these only"
    )
