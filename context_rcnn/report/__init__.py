"""Results as pages and figures that people can show to others.

    runs          a run's evaluation, read from its files
    compare       two runs at equal recall: what one finds or reports and the other does not
    curves        precision and recall of both on the same images, by pycocotools
    explanations  the memories that detections attend to, read from JSON lines
    memory_maps   what a memory of maps holds, read from JSON lines and drawn
    pixels        images by their id, from examples or a folder, as small files with safe names
    figures       charts; each is a function that can be called alone
    sections      the numbers of a page, section by section
    charts        the charts of a page
    galleries     cases, attention panels and samples as rows of a page
    dummies       dummies of simulated cameras, called what they are
    text          numbers, times and untrusted names as people read them
    page          the page of an evaluation, a folder that opens without a network
    results_page  the page of results without labels; `found` counts and samples them
    found         what detectors found in images without labels
    videos        the videos on that page, with what was detected when
    reid_page     queries with the tracklets that look most like them, as a page
    reid_figures  the picture of features in two dimensions on that page

Everything works from files. Nothing here knows models, and only reading examples needs TensorFlow.
"""
