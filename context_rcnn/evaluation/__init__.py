"""How good a detector is: COCO's numbers by pycocotools, false positives on empty images, pictures.

Everything here works on plain arrays and files, and knows no model.
"""
