"""What all runners share.

model       what is asked of a model, and how it is run
memory      the part of a camera's bank that a batch of images sees, as keys and values
prepared    an image made ready for a model, or the reason why it cannot be used
ahead       preparing images in threads, ahead of the model
video_file  the frames of a video file
"""
