"""The papers' tables on simulated data; `python -m benchmarks.studies` runs them all.

study           seeds, rows, commands that are run once, tables
videos          what studies on videos share
table1          Context R-CNN
mega            MEGA
stmn            STMN
detectors       R-FCN next to Faster R-CNN on a dilated conv5
memory_warps    MemNet, ClockNet, FGFA, two speeds
psta            PSTA; `psta_attention` measures what it attends to
"""
