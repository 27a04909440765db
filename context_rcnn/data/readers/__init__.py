"""Readers of public layouts, one file each: what is on the disk becomes an `Archive` of records."""
