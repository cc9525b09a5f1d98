"""Classification on a backbone: linear SVM, linear probe, low-shot fine-tuning, nearest neighbours."""
