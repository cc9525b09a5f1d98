"""The detection and segmentation protocols, each constant beside its source.

Sources, abbreviated: BT = Barlow Twins, arXiv:2103.03230, appendix C.2; MoCo = facebookresearch/moco detection/ at
3402035; VICReg = arXiv:2105.04906, appendix C.3; D2 = Detectron2's defaults (config/defaults.py) or its named yaml;
MMSelfSup = open-mmlab/mmselfsup configs/benchmarks/detectron2/ at db861f3; PyContrast = HobbitLong/PyContrast
pycontrast/detection/configs/ at 48dbf2f.

No two of them are comparable, and none shares a column: the fingerprint holds rate, norm, batch and schedule.
"""

from twinbench.protocols.detection import c4, pyramids, sets, vitdet

PROTOCOLS = c4.PROTOCOLS + pyramids.PROTOCOLS + sets.PROTOCOLS + vitdet.PROTOCOLS
