"""The papers' tables on simulated data: `table1` (Context R-CNN), `mega` and `stmn`, made of
`study`."""
