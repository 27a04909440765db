"""The papers' tables on simulated data: `table1` (Context R-CNN) and `mega`, made of `study`."""
