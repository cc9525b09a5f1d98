"""Images with objects on them: boxes, masks, keypoints, read from anybody's files by one rule.

`data check`, plans, training and evaluation all read through here: what one of them would fail on, each of them tells.
"""
