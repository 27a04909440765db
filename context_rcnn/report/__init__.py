"""Results as pages and figures that people can show to others.

    runs          a run's evaluation, read from its files
    compare       two runs at equal recall: what one finds or reports and the other does not
    curves        precision and recall of both on the same images, by pycocotools
    explanations  the memories that detections attend to, read from JSON lines
    pixels        images by their id, from examples or a folder, as small files with safe names
    figures       charts; each is a function that can be called alone
    sections      the numbers of a page, section by section
    charts        the charts of a page
    galleries     cases, attention panels and samples as rows of a page
    page          all of it as a folder that opens without a network

Everything works from files. Nothing here knows models, and only reading examples needs TensorFlow.
"""
