"""Images on disk: the layouts of ImageNet, VOC, COCO, iNaturalist and Places205; checks; the demo scenes."""
