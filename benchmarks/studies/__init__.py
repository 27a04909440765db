"""The papers' tables on simulated data: `table1` (Context R-CNN), `mega`; `study`, what they
share.
"""
