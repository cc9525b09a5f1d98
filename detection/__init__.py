"""Detection and segmentation with Detectron2: Faster R-CNN and Mask R-CNN on VOC and COCO."""
